// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "x86/descriptor.h"
#include "x86/paging.h"

namespace lockstep::x86 {
namespace {

TEST(Descriptor, KeepsItsParts) {
    Descriptor data = make_descriptor(0x12345678, 0xfffff, with_dpl(0x4093, 3));
    EXPECT_EQ(data.base32(), 0x12345678u);
    EXPECT_EQ(data.limit(), 0xfffffu);
    EXPECT_EQ(data.dpl(), 3u);
    EXPECT_TRUE(data.is_writable_data());
    EXPECT_FALSE(data.is_code());
    EXPECT_EQ(data.attributes(), with_dpl(0x4093, 3));
}

TEST(Descriptor, FlatCodeIsWhatLinuxHasInItsTable) {
    Descriptor code = make_descriptor(0, 0xffffffff, kFlatCode64);
    EXPECT_EQ(code.low, 0x00af9b000000ffffu);
    EXPECT_TRUE(code.is_long() && code.is_code() && code.present() && !code.is_conforming());
    EXPECT_EQ(code.limit(), 0xffffffffu);
}

TEST(Descriptor, SystemSegmentsHave64BitBases) {
    Descriptor tss = make_descriptor(0xfffffe0000003000, 0x206f, 0x89);
    EXPECT_EQ(tss.base64(), 0xfffffe0000003000u);
    EXPECT_TRUE(tss.is_system());
    EXPECT_EQ(tss.type(), kTypeTssAvailable);
}

TEST(Gate, KeepsItsParts) {
    Gate gate = make_gate(0xffffffff81c00ab0, 0x10, 3, kTypeInterruptGate, 3);
    EXPECT_EQ(gate.offset(), 0xffffffff81c00ab0u);
    EXPECT_EQ(gate.selector(), 0x10);
    EXPECT_EQ(gate.ist(), 3u);
    EXPECT_EQ(gate.type(), kTypeInterruptGate);
    EXPECT_EQ(gate.dpl(), 3u);
    EXPECT_TRUE(gate.present());
}

TEST(Paging, CanonicalAddresses) {
    EXPECT_TRUE(is_canonical(0x00007fffffffffff));
    EXPECT_FALSE(is_canonical(0x0000800000000000));
    EXPECT_FALSE(is_canonical(0xffff7fffffffffff));
    EXPECT_TRUE(is_canonical(0xffff800000000000));
}

TEST(Paging, ReservedBitsOfEachLevel) {
    EXPECT_TRUE(reserved_bits(0, 3) & kPteLarge) << "a PML4 entry maps no page";
    EXPECT_FALSE(reserved_bits(kPteLarge, 2) & kPteLarge);
    EXPECT_TRUE(reserved_bits(kPteLarge, 2) & 1 << 29) << "a 1 GiB page is aligned";
    EXPECT_TRUE(reserved_bits(kPteLarge, 1) & 1 << 20) << "a 2 MiB page is aligned";
    EXPECT_FALSE(reserved_bits(kPteLarge, 1) & 1 << 12) << "the PAT bit of a large page";
    EXPECT_FALSE(reserved_bits(0, 1) & 1 << 20);
    for (unsigned level = 0; level <= kTopLevel; ++level)
        EXPECT_TRUE(reserved_bits(0, level) & uint64_t{1} << kPhysicalBits) << level;
}

}  // namespace
}  // namespace lockstep::x86
