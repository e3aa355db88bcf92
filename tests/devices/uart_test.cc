// SPDX-License-Identifier: Apache-2.0
#include "devices/uart/uart.h"

#include <string>

#include "kit.h"

namespace lockstep::devices {
namespace {

class UartTest : public testing::Test {
  protected:
    UartTest() { write(4, 8); }  // OUT2
    uint8_t read(uint64_t offset) { return static_cast<uint8_t>(uart_.read_register(offset, 1)); }
    void write(uint64_t offset, uint8_t value) { uart_.write_register(offset, 1, value); }
    void type(const std::string& text) {
        uart_.input(entry(1, record::ConsoleInput{Bytes(text.begin(), text.end())}));
    }
    std::string printed() {
        std::string text;
        for (const bus::Output& output : sink_.outputs) {
            const Bytes& bytes = std::get<bus::ConsoleBytes>(output.what).bytes;
            text.append(bytes.begin(), bytes.end());
        }
        return text;
    }

    TestTime time_;
    TestLine line_;
    TestSink sink_;
    Uart uart_{1, line_, time_.timers, sink_};
};

TEST_F(UartTest, BytesAreGatheredIntoOneOutput) {
    for (char c : std::string("hello\n")) write(0, static_cast<uint8_t>(c));
    EXPECT_TRUE(sink_.outputs.empty());
    time_.pass(Uart::kGatherNs - 1);
    EXPECT_TRUE(sink_.outputs.empty());
    time_.pass(1);
    ASSERT_EQ(sink_.outputs.size(), 1u);
    EXPECT_EQ(sink_.outputs[0].device, 1);
    EXPECT_EQ(printed(), "hello\n");
    EXPECT_EQ(time_.timers.next_event(), kNeverIcount);
}

TEST_F(UartTest, ManyBytesLeaveWithoutWaiting) {
    for (size_t i = 0; i < Uart::kGatherLimit; ++i) write(0, 'x');
    EXPECT_EQ(sink_.outputs.size(), 1u);
    write(0, 'y');
    uart_.flush();
    EXPECT_EQ(printed(), std::string(Uart::kGatherLimit, 'x') + "y");
}

TEST_F(UartTest, GatheredBytesSurviveSaveAndLoad) {
    write(0, 'a');
    TestTime other_time;
    TestSink other_sink;
    Uart other(1, line_, other_time.timers, other_sink);
    ASSERT_TRUE(loads(other, saved(uart_)));
    other_time.pass(Uart::kGatherNs);
    ASSERT_EQ(other_sink.outputs.size(), 1u);
    EXPECT_EQ(std::get<bus::ConsoleBytes>(other_sink.outputs[0].what).bytes, Bytes{'a'});
}

TEST_F(UartTest, TransmitterIsAlwaysEmpty) {
    EXPECT_EQ(read(5), 0x60);
    write(0, 'a');
    EXPECT_EQ(read(5), 0x60);
}

TEST_F(UartTest, TransmitInterruptUntilIdentified) {
    write(1, 2);
    EXPECT_TRUE(line_.level);
    EXPECT_EQ(read(2), 0x02);
    EXPECT_FALSE(line_.level);
    EXPECT_EQ(read(2), 0x01);
    write(0, 'a');
    EXPECT_TRUE(line_.level);
    EXPECT_EQ(read(2), 0x02);
    write(1, 0);
    write(1, 2);  // switching it on again raises it again
    EXPECT_TRUE(line_.level);
}

TEST_F(UartTest, ReceiveInterruptUntilRead) {
    write(2, 0x01);
    write(1, 1);
    EXPECT_FALSE(line_.level);
    type("ab");
    EXPECT_TRUE(line_.level);
    EXPECT_EQ(read(2), 0xc4);
    EXPECT_EQ(read(5), 0x61);
    EXPECT_EQ(read(0), 'a');
    EXPECT_TRUE(line_.level);
    EXPECT_EQ(read(0), 'b');
    EXPECT_FALSE(line_.level);
    EXPECT_EQ(read(5), 0x60);
    EXPECT_EQ(read(0), 0);
}

TEST_F(UartTest, BelowTheTriggerLevelIsATimeout) {
    write(2, 0x81);  // FIFO on, trigger at 8
    write(1, 1);
    type("abc");
    EXPECT_EQ(read(2), 0xcc);
    type("defgh");
    EXPECT_EQ(read(2), 0xc4);
}

TEST_F(UartTest, TooMuchInputOverruns) {
    type(std::string(Uart::kReceiveLimit + 1, 'x'));
    EXPECT_EQ(read(5), 0x63);
    EXPECT_EQ(read(5), 0x61);
}

TEST_F(UartTest, SaysHowMuchInputItHasRoomFor) {
    EXPECT_EQ(uart_.input_room(), Uart::kReceiveLimit);
    type("abc");
    EXPECT_EQ(uart_.input_room(), Uart::kReceiveLimit - 3);
    type(std::string(Uart::kReceiveLimit, 'x'));
    EXPECT_EQ(uart_.input_room(), 0u);
    read(0);
    EXPECT_EQ(uart_.input_room(), 1u);
    write(2, 0x03);
    write(4, 9);
    EXPECT_EQ(uart_.input_room(), 0u) << "DTR without RTS: held off";
    write(4, 0xb);
    EXPECT_EQ(uart_.input_room(), Uart::kReceiveLimit);
}

// A driver that reads until nothing is left, as Linux' does in its interrupt, comes to an end, and is interrupted again.
TEST_F(UartTest, ABurstComesInPieces) {
    write(2, 0x01);
    write(1, 1);
    std::string sent(1000, 'x'), found;
    type(sent);
    for (int interrupts = 0; interrupts < 100 && found.size() < sent.size(); ++interrupts) {
        ASSERT_TRUE(line_.level) << found.size();
        size_t before = found.size();
        while (read(5) & 1) found += static_cast<char>(read(0));
        EXPECT_LE(found.size() - before, Uart::kFifoBytes);
        EXPECT_FALSE(line_.level);
        type("y");
        EXPECT_FALSE(line_.level && found.size() < sent.size()) << "not before its time";
        sent += 'y';
        time_.pass(Uart::kFillNs);
    }
    EXPECT_EQ(found, sent.substr(0, found.size()));
    EXPECT_GT(found.size(), 1000u);
}

TEST_F(UartTest, WhoIsHeldOffHasNoMoreThanTheFifo) {
    write(2, 0x01);
    write(4, 9);  // DTR without RTS
    type("abc");
    EXPECT_FALSE(read(5) & 1);
    write(4, 0xb);
    EXPECT_EQ(read(0), 'a');
}

TEST_F(UartTest, ClearingTheFifoDropsInput) {
    write(2, 0x01);
    type("abc");
    write(2, 0x03);
    EXPECT_EQ(read(5), 0x60);
}

TEST_F(UartTest, DivisorLatch) {
    write(3, 0x83);
    write(0, 0x34);
    write(1, 0x12);
    EXPECT_EQ(read(0), 0x34);
    EXPECT_EQ(read(1), 0x12);
    write(3, 0x03);
    EXPECT_EQ(read(1), 0x00);
    EXPECT_EQ(read(3), 0x03);
}

TEST_F(UartTest, LoopBack) {
    write(4, 0x1a);  // loop, OUT2, RTS
    EXPECT_EQ(read(6) & 0xf0, 0x90);
    write(0, 'z');
    EXPECT_EQ(read(0), 'z');
    uart_.flush();
    EXPECT_TRUE(sink_.outputs.empty());
    write(4, 0x08);
    EXPECT_EQ(read(6) & 0xf0, 0xb0);
}

TEST_F(UartTest, NoInterruptWithoutOut2) {
    write(4, 0);
    write(1, 2);
    EXPECT_FALSE(line_.level);
    write(4, 8);
    EXPECT_TRUE(line_.level);
}

TEST_F(UartTest, Scratch) {
    write(7, 0xa5);
    EXPECT_EQ(read(7), 0xa5);
}

}  // namespace
}  // namespace lockstep::devices
