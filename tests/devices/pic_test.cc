// SPDX-License-Identifier: Apache-2.0
#include "devices/legacy/pic.h"

#include "kit.h"

namespace lockstep::devices {
namespace {

class PicTest : public testing::Test {
  protected:
    PicTest() {
        for (unsigned input = 0; input < kPicInputs; ++input)
            lines_.push_back(input == 2 ? nullptr : &pic_.line(input));
        for (unsigned chip : {0u, 1u}) {
            write(chip, 0, 0x11);
            for (unsigned word : {0x30u + 8 * chip, 4u - 2 * chip, 1u}) write(chip, 1, word);
        }
    }
    void write(unsigned chip, uint64_t offset, uint64_t value) {
        pic_.chip(chip).write_register(offset, 1, value);
    }
    uint64_t read(unsigned chip, uint64_t offset) { return pic_.chip(chip).read_register(offset, 1); }
    void pulse(unsigned input) {
        lines_[input]->set_level(true);
        lines_[input]->set_level(false);
    }
    void end(unsigned chip) { write(chip, 0, 0x20); }

    Pic pic_{0x0c00};
    std::vector<bus::InterruptLine*> lines_;
};

TEST_F(PicTest, MasksReadBack) {
    for (unsigned chip : {0u, 1u}) {
        EXPECT_EQ(read(chip, 1), 0u) << "cleared by the initialisation, whose words are no masks";
        write(chip, 1, 0xfb);
        EXPECT_EQ(read(chip, 1), 0xfbu);
    }
}

TEST_F(PicTest, EdgesAreTakenByPriorityAndHoldLowerOnesOff) {
    pulse(4);
    pulse(0);
    EXPECT_TRUE(pic_.interrupt_pending());
    EXPECT_EQ(pic_.acknowledge_interrupt(), 0x30);
    EXPECT_FALSE(pic_.interrupt_pending()) << "input 0 is in service";
    end(0);
    EXPECT_EQ(pic_.acknowledge_interrupt(), 0x34);
    pulse(0);
    EXPECT_EQ(pic_.acknowledge_interrupt(), 0x30) << "a higher one interrupts";
    end(0);
    end(0);
    EXPECT_FALSE(pic_.interrupt_pending());
}

TEST_F(PicTest, MaskedInputsWait) {
    write(0, 1, 0x10);
    pulse(4);
    EXPECT_FALSE(pic_.interrupt_pending());
    EXPECT_EQ(read(0, 0), 0x10u);
    write(0, 1, 0);
    EXPECT_EQ(pic_.acknowledge_interrupt(), 0x34);
    write(0, 0, 0x0b);
    EXPECT_EQ(read(0, 0), 0x10u) << "in service";
    write(0, 0, 0x64);
    EXPECT_EQ(read(0, 0), 0u) << "ended by name";
}

TEST_F(PicTest, TheSecondChipComesByInputTwo) {
    pulse(8);
    pulse(4);
    EXPECT_EQ(pic_.acknowledge_interrupt(), 0x38);
    EXPECT_FALSE(pic_.interrupt_pending()) << "input 2 is in service";
    pulse(9);
    end(1);
    end(0);
    EXPECT_EQ(pic_.acknowledge_interrupt(), 0x39);
    end(1);
    end(0);
    EXPECT_EQ(pic_.acknowledge_interrupt(), 0x34);
}

TEST_F(PicTest, LevelsComeAgainUntilTheyFall) {
    pic_.level_ports().write_register(1, 1, 0xff);
    EXPECT_EQ(pic_.level_ports().read_register(1, 1), 0xdeu);
    lines_[9]->set_level(true);
    for (unsigned i = 0; i < 2; ++i) {
        EXPECT_EQ(pic_.acknowledge_interrupt(), 0x39) << i;
        end(1);
        end(0);
    }
    EXPECT_TRUE(pic_.interrupt_pending());
    lines_[9]->set_level(false);
    EXPECT_EQ(pic_.acknowledge_interrupt(), 0x3f) << "it fell before it was taken: spurious";
}

TEST_F(PicTest, LinesOfOneInputAreJoined) {
    EXPECT_EQ(pic_.level_ports().read_register(1, 1), 0x0cu) << "level-triggered from power-on";
    bus::InterruptLine& second = pic_.line(10);
    lines_[10]->set_level(true);
    second.set_level(true);
    EXPECT_EQ(pic_.acknowledge_interrupt(), 0x3a);
    lines_[10]->set_level(false);
    end(1);
    end(0);
    EXPECT_EQ(pic_.acknowledge_interrupt(), 0x3a) << "the second still stands";
    second.set_level(false);
    end(1);
    end(0);
    EXPECT_FALSE(pic_.interrupt_pending());
}

TEST_F(PicTest, AutomaticEnds) {
    write(0, 0, 0x11);
    for (unsigned word : {0x30u, 4u, 3u}) write(0, 1, word);
    pulse(0);
    pulse(1);
    EXPECT_EQ(pic_.acknowledge_interrupt(), 0x30);
    EXPECT_EQ(pic_.acknowledge_interrupt(), 0x31);
    EXPECT_FALSE(pic_.interrupt_pending());
}

}  // namespace
}  // namespace lockstep::devices
