// SPDX-License-Identifier: Apache-2.0
#include "vmm/idle_memory.h"

#include <gtest/gtest.h>

namespace lockstep::vmm {
namespace {

constexpr uint64_t kPeriod = IdleMemory::kPeriodNs;
constexpr uint64_t kMuch = IdleMemory::kWorthwhileBytes;
constexpr uint64_t kLittleTime = kPeriod * IdleMemory::kIdlePermille / 1000;

TEST(IdleMemory, GoesBackAfterAPeriodOfIdleness) {
    IdleMemory memory;
    EXPECT_FALSE(memory.is_due(1, 0, kMuch)) << "nothing is known of the time before";
    EXPECT_FALSE(memory.looks_at(kPeriod));
    ASSERT_TRUE(memory.looks_at(kPeriod + 1));
    EXPECT_TRUE(memory.is_due(kPeriod + 1, kLittleTime, kMuch));
}

TEST(IdleMemory, StaysWithAGuestThatWorks) {
    IdleMemory memory;
    memory.is_due(1, 0, kMuch);
    EXPECT_FALSE(memory.is_due(1 + kPeriod, kLittleTime + 1, kMuch));
    EXPECT_FALSE(memory.is_due(1 + 2 * kPeriod, 2 * kLittleTime + 2, kMuch))
        << "it worked in this period, too";
    EXPECT_TRUE(memory.is_due(1 + 3 * kPeriod, 2 * kLittleTime + 2, kMuch));
}

TEST(IdleMemory, StaysWhereThereIsLittle) {
    IdleMemory memory;
    memory.is_due(1, 0, kMuch);
    EXPECT_FALSE(memory.is_due(1 + kPeriod, 0, kMuch - 1));
}

constexpr uint64_t kSecond = WorkMeter::kPeriodNs;
constexpr uint64_t kBusyTime = kSecond * WorkMeter::kBusyPermille / 1000;

TEST(WorkMeter, AGuestThatWorksIsToldFromOneThatIsIdle) {
    WorkMeter meter;
    EXPECT_FALSE(meter.works(1, 0)) << "nothing is known of the time before";
    EXPECT_FALSE(meter.works(kSecond, kBusyTime)) << "not yet";
    EXPECT_TRUE(meter.works(1 + kSecond, kBusyTime));
    EXPECT_TRUE(meter.works(2 + kSecond, kBusyTime)) << "until the next period is over";
    EXPECT_FALSE(meter.works(1 + 2 * kSecond, 2 * kBusyTime - 1));
}

TEST(WorkMeter, WhatIsTakenAheadIsNoWorkOfTheGuest) {
    WorkMeter meter;
    meter.works(1, 0);
    meter.leave_out(kBusyTime);
    EXPECT_FALSE(meter.works(1 + kSecond, kBusyTime));
}

}  // namespace
}  // namespace lockstep::vmm
