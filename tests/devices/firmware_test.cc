// SPDX-License-Identifier: Apache-2.0
// What firmware finds: its flash memory and the device that describes the machine.
#include <algorithm>

#include "devices/firmware/flash.h"
#include "devices/firmware/fw_cfg.h"
#include "kit.h"

namespace lockstep::devices {
namespace {

Bytes blocks(unsigned count) {
    Bytes bytes(count * Flash::kBlock);
    for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(i * 7);
    return bytes;
}

TEST(Flash, ShowsFirmwareThatItIsOne) {
    Flash flash(blocks(2));
    auto before = flash.read_register(5, 1);
    flash.write_register(5, 1, 0x50);
    EXPECT_EQ(flash.read_register(5, 1), before) << "clearing the status doesn't write";
    flash.write_register(5, 1, 0x70);
    EXPECT_EQ(flash.read_register(5, 1), 0u) << "the status";
    flash.write_register(5, 1, 0xff);
    EXPECT_EQ(flash.read_register(5, 1), before);
    EXPECT_EQ(flash.read_register(8, 4), 0x4d463f38u);
}

TEST(Flash, ErasesBlocksAndProgramsBytes) {
    Flash flash(blocks(3));
    flash.write_register(Flash::kBlock + 100, 1, 0x20);
    flash.write_register(Flash::kBlock + 100, 1, 0xd0);
    EXPECT_EQ(flash.read_register(0, 1), 0x80u) << "ready";
    flash.write_register(Flash::kBlock + 3, 1, 0x10);
    flash.write_register(Flash::kBlock + 3, 1, 0x5a);
    flash.write_register(Flash::kBlock + 3, 1, 0x10);
    flash.write_register(Flash::kBlock + 3, 1, 0xf0);
    flash.write_register(0, 1, 0xff);
    EXPECT_EQ(flash.read_register(Flash::kBlock + 3, 1), 0x50u) << "bits are only cleared";
    EXPECT_EQ(flash.read_register(Flash::kBlock, 2), 0xffffu);
    EXPECT_EQ(flash.read_register(2 * Flash::kBlock, 1), 0u) << "another block";

    flash.reset();
    Bytes saved;
    ByteWriter out(saved);
    flash.save(out);
    EXPECT_LT(saved.size(), Flash::kBlock + 16) << "the changed block alone";
    Flash other(blocks(3));
    ByteReader in(saved);
    ASSERT_TRUE(other.load(in).ok());
    EXPECT_TRUE(std::ranges::equal(other.contents(), flash.contents()));
}

TEST(Flash, RefusesADamagedState) {
    Bytes saved;
    ByteWriter out(saved);
    out.fixed(uint8_t{0});
    out.fixed(uint8_t{0});
    out.varint(4);  // of three blocks
    out.raw(Bytes(Flash::kBlock));
    out.varint(0);
    Flash flash(blocks(3));
    ByteReader in(saved);
    EXPECT_FALSE(flash.load(in).ok());
}

class FirmwareConfigTest : public testing::Test {
  protected:
    FirmwareConfigTest() {
        config.add_file("etc/one", {1, 2, 3, 4, 5});
        config.add_file("etc/two", {9, 8});
    }
    uint64_t select_and_read(uint16_t item, unsigned size) {
        config.write_register(0, 2, item);
        return config.read_register(1, size);
    }
    uint32_t request(uint32_t control, uint32_t length, uint64_t to) {
        memory->write_number(GuestPhys(0x1000), __builtin_bswap32(control));
        memory->write_number(GuestPhys(0x1004), __builtin_bswap32(length));
        memory->write_number(GuestPhys(0x1008), __builtin_bswap64(to));
        config.write_register(4, 4, 0);
        config.write_register(8, 4, __builtin_bswap32(0x1000));
        return __builtin_bswap32(memory->read_number<uint32_t>(GuestPhys(0x1000)));
    }

    std::unique_ptr<memory::GuestMemory> memory = memory::GuestMemory::create(2 << 20).take();
    FirmwareConfig config{*memory};
};

TEST_F(FirmwareConfigTest, ItemsByPort) {
    EXPECT_EQ(select_and_read(0, 4), 0x554d4551u) << "QEMU";
    EXPECT_EQ(select_and_read(1, 4), 3u) << "requests in memory, too";
    EXPECT_EQ(select_and_read(0x19, 4), 0x02000000u) << "two files, big-endian";
    EXPECT_EQ(select_and_read(0x20, 2), 0x0201u);
    EXPECT_EQ(config.read_register(1, 4), 0x00050403u) << "zeroes behind the end";
    EXPECT_EQ(select_and_read(0x99, 4), 0u) << "no such item";
    EXPECT_EQ(config.read_register(4, 4), 0x554d4551u);
    EXPECT_EQ(config.read_register(8, 4), 0x47464320u) << "CFG";
}

TEST_F(FirmwareConfigTest, RequestsInMemory) {
    EXPECT_EQ(request(0x20u << 16 | 8 | 4, 1, 0), 0u) << "select the first file, skip a byte";
    EXPECT_EQ(request(2, 8, 0x2000), 0u);
    EXPECT_EQ(memory->read_number<uint64_t>(GuestPhys(0x2000)), 0x05040302u);
    EXPECT_EQ(request(0x21u << 16 | 8 | 2, 2, 0x2000), 0u);
    EXPECT_EQ(memory->read_number<uint16_t>(GuestPhys(0x2000)), 0x0809u);
    memory->write(GuestPhys(0x3000), Bytes(0x3000, 0xee));
    EXPECT_EQ(request(0x20u << 16 | 8 | 2, 0x2801, 0x3000), 0u);
    EXPECT_EQ(memory->read_number<uint64_t>(GuestPhys(0x3000)), 0x0504030201u);
    Bytes behind(0x3000 - 5), expected(0x2801 - 5);
    expected.resize(behind.size(), 0xee);
    EXPECT_TRUE(memory->read(GuestPhys(0x3005), behind));
    EXPECT_EQ(behind, expected) << "zeroes behind the end, over some pages, and nothing more";
    EXPECT_EQ(request(2, 8, uint64_t{1} << 40), 1u) << "no memory there";
    EXPECT_EQ(request(16, 1, 0x2000), 1u) << "nothing can be written";
}

}  // namespace
}  // namespace lockstep::devices
