// SPDX-License-Identifier: Apache-2.0
#include "bus/pci_bus.h"

#include <gtest/gtest.h>

#include "recording_handler.h"

namespace lockstep::bus {
namespace {

// A function with one register: where its memory is. Bit 0 switches it on.
class MovableFunction : public PciFunction {
  public:
    explicit MovableFunction(uint64_t answer) : handler(answer) {}
    uint32_t read_config(unsigned offset, unsigned) override { return offset == 0x10 ? base : offset; }
    void write_config(unsigned offset, unsigned, uint32_t value) override {
        if (offset == 0x10) base = value;
    }
    MemoryRange memory_range() const override {
        if (!(base & 1)) return {};
        return {GuestPhys(base & ~0xfffu), 0x1000};
    }
    RegisterHandler* memory_handler() override { return &handler; }

    uint32_t base = 0;
    RecordingHandler handler;
};

class PciBusTest : public testing::Test {
  protected:
    PciBusTest() {
        pci_.attach(1, a_);
        pci_.attach(2, b_);
    }
    void select(unsigned device, unsigned offset) {
        pci_.address_port().write_register(0, 4, 1u << 31 | device << 11 | offset);
    }
    void write(unsigned device, unsigned offset, uint32_t value) {
        select(device, offset);
        pci_.data_port().write_register(0, 4, value);
    }

    MmioBus mmio_;
    PciBus pci_{mmio_};
    MovableFunction a_{0xa}, b_{0xb};
};

TEST_F(PciBusTest, AddressReadsBack) {
    pci_.address_port().write_register(0, 4, 0x80000000);
    EXPECT_EQ(pci_.address_port().read_register(0, 4), 0x80000000u);
    pci_.address_port().write_register(0, 1, 0x12);
    EXPECT_EQ(pci_.address_port().read_register(0, 4), 0x80000000u);
}

TEST_F(PciBusTest, MissingDevicesReadAllOnes) {
    select(3, 0);
    EXPECT_EQ(static_cast<uint32_t>(pci_.data_port().read_register(0, 4)), ~0u);
    pci_.address_port().write_register(0, 4, 1u << 31 | 1 << 16 | 1 << 11);  // bus 1
    EXPECT_EQ(static_cast<uint32_t>(pci_.data_port().read_register(0, 4)), ~0u);
    pci_.address_port().write_register(0, 4, 1 << 11);  // not enabled
    EXPECT_EQ(static_cast<uint32_t>(pci_.data_port().read_register(0, 4)), ~0u);
}

TEST_F(PciBusTest, BytesOfTheDataPortAreBytesOfTheRegister) {
    select(1, 0x3c);
    EXPECT_EQ(pci_.data_port().read_register(1, 1), 0x3du);
    EXPECT_EQ(pci_.data_port().read_register(2, 2), 0x3eu);
    EXPECT_EQ(static_cast<uint32_t>(pci_.data_port().read_register(2, 4)), ~0u);
}

TEST_F(PciBusTest, FunctionsMoveAsTheGuestWrites) {
    write(1, 0x10, 0xc0000001);
    EXPECT_EQ(mmio_.read(GuestPhys(0xc0000000), 1), 0xau);
    write(1, 0x10, 0xc0005001);
    EXPECT_EQ(mmio_.read(GuestPhys(0xc0000000), 1), 0xffu);
    EXPECT_EQ(mmio_.read(GuestPhys(0xc0005000), 1), 0xau);
    write(1, 0x10, 0);
    EXPECT_EQ(mmio_.read(GuestPhys(0xc0005000), 1), 0xffu);
}

// Of two functions at one address the lower device number answers, whichever was moved first.
TEST_F(PciBusTest, MappingDoesNotDependOnTheOrderOfWrites) {
    write(2, 0x10, 0xc0000001);
    EXPECT_EQ(mmio_.read(GuestPhys(0xc0000000), 1), 0xbu);
    write(1, 0x10, 0xc0000001);
    EXPECT_EQ(mmio_.read(GuestPhys(0xc0000000), 1), 0xau);
    write(1, 0x10, 0);
    EXPECT_EQ(mmio_.read(GuestPhys(0xc0000000), 1), 0xbu);
}

}  // namespace
}  // namespace lockstep::bus
