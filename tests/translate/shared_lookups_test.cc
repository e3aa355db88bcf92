// SPDX-License-Identifier: Apache-2.0
#include "translate/shared_lookups.h"

#include <gtest/gtest.h>

#include <initializer_list>

namespace lockstep::translate {
namespace {

using Bytes = std::vector<uint8_t>;

std::vector<GuestInstruction> decode_all(const Bytes& code) {
    std::vector<GuestInstruction> block;
    for (size_t at = 0; at < code.size(); at += block.back().length) {
        block.emplace_back();
        EXPECT_TRUE(decode(std::span(code).subspan(at), 0x1000 + at, block.back()));
    }
    return block;
}

std::vector<AccessPlan> plans_of(const Bytes& code) {
    std::vector<AccessPlan> plans;
    plan_lookups(decode_all(code), plans);
    return plans;
}

Bytes join(std::initializer_list<Bytes> parts) {
    Bytes out;
    for (const Bytes& part : parts) out.insert(out.end(), part.begin(), part.end());
    return out;
}

const Bytes kLoad = {0x48, 0x8b, 0x47, 0x08};               // mov rax, [rdi + 8]
const Bytes kLoadBelow = {0x48, 0x8b, 0x57, 0xf8};          // mov rdx, [rdi - 8]
const Bytes kLoadFar = {0x48, 0x8b, 0x87, 0, 0x10, 0, 0};   // mov rax, [rdi + 0x1000]
const Bytes kStore = {0x48, 0x89, 0x47, 0x10};              // mov [rdi + 16], rax
const Bytes kChange = {0x48, 0x89, 0xc7};                   // mov rdi, rax
const Bytes kAdd = {0x48, 0x83, 0xc7, 0x20};                // add rdi, 32
const Bytes kBranch = {0x74, 0x10};                         // je
const Bytes kLoadIndexed = {0x48, 0x8b, 0x44, 0xf7, 0x08};  // mov rax, [rdi + rsi * 8 + 8]
const Bytes kNextIndex = {0x48, 0xff, 0xc6};                // inc rsi
const Bytes kPushRbx = {0x53}, kPopRbx = {0x5b}, kReturn = {0xc3};
const Bytes kFsLoad = {0x64, 0x48, 0x8b, 0x47, 0x08};  // mov rax, fs:[rdi + 8]

TEST(SharedLookups, OneAccessIsLookedUpForItself) {
    auto plans = plans_of(kLoad);
    ASSERT_EQ(plans.size(), 1u);
    EXPECT_EQ(plans[0].sharing, Sharing::kNone);
}

TEST(SharedLookups, TheFirstFindsThePageOfAll) {
    auto plans = plans_of(join({kLoad, kLoadBelow}));
    ASSERT_EQ(plans.size(), 2u);
    EXPECT_EQ(plans[0].sharing, Sharing::kFirst);
    EXPECT_EQ(plans[0].below, -16);
    EXPECT_EQ(plans[0].span, 24);
    EXPECT_FALSE(plans[0].write);
    EXPECT_EQ(plans[1].sharing, Sharing::kMember);
    EXPECT_EQ(plans[1].group, plans[0].group);
}

TEST(SharedLookups, AWriteBehindMakesTheGroupOneForWriting) {
    auto plans = plans_of(join({kLoad, kStore}));
    EXPECT_EQ(plans[0].sharing, Sharing::kFirst);
    EXPECT_TRUE(plans[0].write);
}

TEST(SharedLookups, NotWhereABranchLiesBetween) {
    auto plans = plans_of(join({kLoad, kLoadBelow, kBranch, kStore}));
    EXPECT_FALSE(plans[0].write);
    EXPECT_EQ(plans[2].sharing, Sharing::kNone);
}

TEST(SharedLookups, ReadsBehindABranchMayShare) {
    auto plans = plans_of(join({kLoad, kBranch, kLoadBelow}));
    EXPECT_EQ(plans[0].sharing, Sharing::kFirst);
    EXPECT_EQ(plans[1].sharing, Sharing::kMember);
}

TEST(SharedLookups, NotWhereTheRegisterIsAnother) {
    auto plans = plans_of(join({kLoad, kChange, kLoadBelow}));
    EXPECT_EQ(plans[0].sharing, Sharing::kNone);
    EXPECT_EQ(plans[1].sharing, Sharing::kNone);
}

TEST(SharedLookups, ConstantsAddedToTheRegisterAreFollowed) {
    auto plans = plans_of(join({kLoad, kAdd, kLoadBelow}));
    EXPECT_EQ(plans[0].sharing, Sharing::kFirst);
    EXPECT_EQ(plans[0].below, 0);
    EXPECT_EQ(plans[0].span, 24);  // 8 to 16, and 32 - 8 to 32
}

TEST(SharedLookups, FarAccessesAreNotOneGroup) {
    auto plans = plans_of(join({kLoad, kLoadFar}));
    EXPECT_EQ(plans[0].sharing, Sharing::kNone);
}

TEST(SharedLookups, IndicesCount) {
    auto plans = plans_of(join({kLoadIndexed, kNextIndex, kLoadIndexed}));
    EXPECT_EQ(plans[0].sharing, Sharing::kFirst);
    EXPECT_EQ(plans[0].span, 16);
    plans = plans_of(join({kLoadIndexed, kLoad}));
    EXPECT_EQ(plans[0].sharing, Sharing::kNone);
}

TEST(SharedLookups, TheStackIsFollowedThroughPushAndPop) {
    auto plans = plans_of(join({kPushRbx, kPushRbx, kPopRbx, kReturn}));
    ASSERT_EQ(plans.size(), 4u);
    EXPECT_EQ(plans[0].sharing, Sharing::kFirst);
    EXPECT_TRUE(plans[0].write);
    EXPECT_EQ(plans[0].below, -8);
    EXPECT_EQ(plans[0].span, 16);
    for (size_t i = 1; i < 4; ++i) EXPECT_EQ(plans[i].sharing, Sharing::kMember) << i;
}

TEST(SharedLookups, SegmentsWithABaseDontShare) {
    auto plans = plans_of(join({kFsLoad, kFsLoad}));
    EXPECT_EQ(plans[0].sharing, Sharing::kNone);
}

TEST(SharedLookups, NoMoreGroupsThanSlots) {
    Bytes code;
    for (int i = 0; i < 40; ++i) code = join({code, kLoad, kLoadBelow, kChange});
    unsigned groups = 0;
    for (const AccessPlan& plan : plans_of(code)) {
        groups += plan.sharing == Sharing::kFirst;
        EXPECT_LT(plan.group, kMostGroups);
    }
    EXPECT_EQ(groups, kMostGroups);
}

std::vector<Sharing> looks_of(const Bytes& code) {
    std::vector<AccessPlan> plans;
    plan_looks(decode_all(code), plans);
    std::vector<Sharing> looks;
    for (const AccessPlan& plan : plans) looks.push_back(plan.sharing);
    return looks;
}

using enum Sharing;
using Looks = std::vector<Sharing>;

const Bytes kLoadBeyond = {0x48, 0x8b, 0x87, 0, 0, 2, 0};        // mov rax, [rdi + 0x20000]
const Bytes kAddMuch = {0x48, 0x81, 0xc7, 0, 0, 0x80, 0};        // add rdi, 0x800000
const Bytes kFsAlone = {0x64, 0x8b, 0x04, 0x25, 0x28, 0, 0, 0};  // mov eax, fs:[0x28]
const Bytes kRipLoad = {0x8b, 0x05, 0, 1, 0, 0};                 // mov eax, [rip + 0x100]
const Bytes kRipFar = {0x8b, 0x05, 0, 0, 0, 1};                  // mov eax, [rip + 0x1000000]

TEST(Looks, OneForAllAccessesByARegister) {
    EXPECT_EQ(looks_of(join({kLoad, kStore, kBranch, kLoadFar, kAdd, kLoadBelow})),
              (Looks{kFirst, kMember, kMember, kMember}));
}

TEST(Looks, AnotherWhereTheRegisterIsAnother) {
    EXPECT_EQ(looks_of(join({kLoad, kChange, kLoad})), (Looks{kFirst, kFirst}));
}

TEST(Looks, AnotherWhereTheRegisterHasMovedFar) {
    EXPECT_EQ(looks_of(join({kLoad, kAddMuch, kLoad, kLoad})), (Looks{kFirst, kFirst, kMember}));
}

TEST(Looks, AnIndexAndALargeDisplacementAreLookedAtAsAWhole) {
    EXPECT_EQ(looks_of(join({kLoad, kLoadIndexed, kLoadBeyond, kLoad})),
              (Looks{kFirst, kIndexed, kIndexed, kMember}));
}

TEST(Looks, TheStackIsLookedAtOnce) {
    EXPECT_EQ(looks_of(join({kPushRbx, kPushRbx, kPopRbx, kReturn})),
              (Looks{kFirst, kMember, kMember, kMember}));
}

TEST(Looks, SegmentsAndRipAreBasesThatStay) {
    EXPECT_EQ(looks_of(join({kFsAlone, kRipLoad, kFsAlone, kRipLoad, kRipFar})),
              (Looks{kFirst, kFirst, kMember, kMember, kFirst}));
    EXPECT_EQ(looks_of(join({kFsLoad, kFsLoad})), (Looks{kNone, kNone}));
}

}  // namespace
}  // namespace lockstep::translate
