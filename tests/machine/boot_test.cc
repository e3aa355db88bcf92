// SPDX-License-Identifier: Apache-2.0
#include "machine/boot.h"

#include <gtest/gtest.h>

#include "machine/acpi.h"
#include "small_kernel.h"

namespace lockstep::machine {
namespace {

constexpr GuestPhys kParameters{0x10000};

class BootTest : public testing::Test {
  protected:
    BootTest() : memory_(memory::GuestMemory::create(64 << 20).take()) {}
    Result<BootEntry> boot(ByteSpan kernel, ByteSpan initrd = {}, std::string line = "quiet") {
        return load_linux(*memory_, {kernel, initrd, std::move(line)});
    }
    std::string refusal(HeaderFields fields) {
        Result<BootEntry> entry = boot(make_kernel(SMALL_KERNEL(halt), fields));
        return entry.ok() ? "" : entry.error().message();
    }
    template <typename T>
    T parameter(uint64_t offset) {
        return memory_->read_number<T>(kParameters + offset);
    }

    std::unique_ptr<memory::GuestMemory> memory_;
};

TEST_F(BootTest, EntersTheKernelAtItsPlace) {
    Bytes kernel = make_kernel(SMALL_KERNEL(halt));
    Result<BootEntry> entry = boot(kernel);
    ASSERT_TRUE(entry.ok());
    EXPECT_EQ(entry.value().start, GuestPhys(kTestKernelAddress + 0x200));
    EXPECT_EQ(entry.value().parameters, kParameters);
    EXPECT_EQ(memory_->read_number<uint8_t>(entry.value().start), small_halt[0]);
}

TEST_F(BootTest, ParametersHoldHeaderCommandLineAndAcpi) {
    ASSERT_TRUE(boot(make_kernel(SMALL_KERNEL(halt)), {}, "console=ttyS0").ok());
    EXPECT_EQ(parameter<uint32_t>(0x202), 0x53726448u);
    EXPECT_EQ(parameter<uint8_t>(0x210), 0xff);
    uint32_t line = parameter<uint32_t>(0x228);
    char text[14];
    ASSERT_TRUE(memory_->read(GuestPhys(line), {reinterpret_cast<uint8_t*>(text), sizeof text}));
    EXPECT_STREQ(text, "console=ttyS0");
    EXPECT_EQ(parameter<uint64_t>(0x70), kAcpiStart.value());
    EXPECT_EQ(memory_->read_number<uint64_t>(kAcpiStart), 0x2052545020445352u);  // "RSD PTR "
}

TEST_F(BootTest, MemoryMapCoversTheRam) {
    ASSERT_TRUE(boot(make_kernel(SMALL_KERNEL(halt))).ok());
    ASSERT_EQ(parameter<uint8_t>(0x1e8), 3);
    uint64_t usable = 0;
    for (unsigned i = 0; i < 3; ++i)
        if (parameter<uint32_t>(0x2d0 + 20 * i + 16) == 1) usable += parameter<uint64_t>(0x2d0 + 20 * i + 8);
    EXPECT_EQ(usable, (64 << 20) - (0x100000 - 0x9fc00));
}

TEST_F(BootTest, MemoryMapAboveFourGigabytes) {
    memory_ = memory::GuestMemory::create(uint64_t{5} << 30).take();
    ASSERT_TRUE(boot(make_kernel(SMALL_KERNEL(halt))).ok());
    ASSERT_EQ(parameter<uint8_t>(0x1e8), 4);
    EXPECT_EQ(parameter<uint64_t>(0x2d0 + 60), uint64_t{4} << 30);
    EXPECT_EQ(parameter<uint64_t>(0x2d0 + 68), uint64_t{2} << 30);
}

TEST_F(BootTest, InitrdLiesHighAndWithinTheKernelsLimit) {
    Bytes initrd(100000, 0x5a);
    ASSERT_TRUE(boot(make_kernel(SMALL_KERNEL(halt)), initrd).ok());
    uint32_t at = parameter<uint32_t>(0x218);
    EXPECT_EQ(at % 4096, 0u);
    EXPECT_EQ(at, ((64u << 20) - 100000) & ~4095u);
    EXPECT_EQ(parameter<uint32_t>(0x21c), 100000u);
    EXPECT_EQ(memory_->read_number<uint8_t>(GuestPhys(at + 99999)), 0x5a);
    ASSERT_TRUE(boot(make_kernel(SMALL_KERNEL(halt), {.initrd_max = 0x1ffffff}), initrd).ok());
    EXPECT_EQ(parameter<uint32_t>(0x218), ((32u << 20) - 100000) & ~4095u);
}

TEST_F(BootTest, PageTablesMapFourGigabytesOneToOne) {
    Result<BootEntry> entry = boot(make_kernel(SMALL_KERNEL(halt)));
    ASSERT_TRUE(entry.ok());
    auto read = [this](uint64_t at) { return memory_->read_number<uint64_t>(GuestPhys(at)); };
    for (uint64_t address : {uint64_t{0}, uint64_t{0x12345678}, uint64_t{0xfee00000}}) {
        uint64_t level3 = read(entry.value().page_table.value()) & ~kPageMask;
        uint64_t level2 = read(level3 + 8 * (address >> 30)) & ~kPageMask;
        uint64_t page = read(level2 + 8 * (address >> 21 & 511));
        EXPECT_EQ(page & ~uint64_t{0x1fffff}, address & ~uint64_t{0x1fffff});
        EXPECT_EQ(page & 0x83, 0x83u);
    }
}

TEST_F(BootTest, WhatIsNoKernelIsNamed) {
    EXPECT_NE(refusal({.magic = 0}).find("not a Linux bzImage"), std::string::npos);
    EXPECT_NE(refusal({.boot_flag = 0}).find("not a Linux bzImage"), std::string::npos);
    EXPECT_NE(refusal({.protocol = 0x20b}).find("too old"), std::string::npos);
    EXPECT_NE(refusal({.extended_flags = 0}).find("64-bit"), std::string::npos);
    EXPECT_NE(refusal({.preferred_address = 0x1000}).find("below 1 MiB"), std::string::npos);
    EXPECT_EQ(refusal({}), "");
    EXPECT_FALSE(boot(Bytes(100)).ok());
    EXPECT_FALSE(boot({}).ok());
    Bytes cut = make_kernel(SMALL_KERNEL(halt));
    cut.resize(0x400);
    EXPECT_NE(boot(cut).error().message().find("cut short"), std::string::npos);
    Bytes whole = make_kernel(SMALL_KERNEL(halt));
    whole[0x1f4] = 100;  // the header tells of 1600 bytes of code
    EXPECT_NE(boot(whole).error().message().find("cut short"), std::string::npos);
    whole.resize(0x400 + 1600);
    EXPECT_TRUE(boot(whole).ok());
}

TEST_F(BootTest, TooLittleMemoryIsNamed) {
    EXPECT_NE(refusal({.init_size = 60 << 20}).find("give it more"), std::string::npos);
    EXPECT_NE(refusal({.preferred_address = uint64_t{1} << 40}).find("give it more"), std::string::npos);
    Result<BootEntry> entry = boot(make_kernel(SMALL_KERNEL(halt)), Bytes(50 << 20));
    ASSERT_FALSE(entry.ok());
    EXPECT_NE(entry.error().message().find("initrd"), std::string::npos);
}

TEST_F(BootTest, CommandLineIsBoundedByTheKernel) {
    EXPECT_TRUE(boot(make_kernel(SMALL_KERNEL(halt)), {}, std::string(2047, 'x')).ok());
    EXPECT_FALSE(boot(make_kernel(SMALL_KERNEL(halt)), {}, std::string(2048, 'x')).ok());
}

}  // namespace
}  // namespace lockstep::machine
