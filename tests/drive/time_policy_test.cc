// SPDX-License-Identifier: Apache-2.0
#include "drive/time_policy.h"

#include <gtest/gtest.h>

#include <cmath>

namespace lockstep::drive {
namespace {

constexpr uint64_t kMs = 1'000'000;

/// A guest that is busy at some speed, in steps of 10 ms of the host.
struct BusyGuest {
    TimePolicy policy;
    uint64_t host_ns = 5'000 * kMs;
    double guest_ns = 0;
    uint64_t rate = uint64_t{1} << 32;
    unsigned entries = 0;

    void run(unsigned steps, double instructions_per_ns) {
        for (unsigned i = 0; i < steps; ++i) {
            auto instructions = static_cast<uint64_t>(10e6 * instructions_per_ns);
            host_ns += 10 * kMs;
            double before = guest_ns;
            guest_ns += static_cast<double>(instructions) * static_cast<double>(rate) / 4294967296.0;
            EXPECT_GE(guest_ns, before);
            policy.ran(10 * kMs, instructions);
            if (auto better = policy.steer(host_ns, static_cast<uint64_t>(guest_ns), rate)) {
                rate = *better;
                ++entries;
            }
        }
    }
    /// As the driver does: as many instructions as have lately taken 10 ms.
    void run_slice(double instructions_per_ns) {
        auto instructions = static_cast<double>(policy.instructions_in(10 * kMs));
        auto ran_ns = static_cast<uint64_t>(instructions / instructions_per_ns);
        host_ns += ran_ns;
        guest_ns += instructions * static_cast<double>(rate) / 4294967296.0;
        policy.ran(ran_ns, static_cast<uint64_t>(instructions));
        if (auto better = policy.steer(host_ns, static_cast<uint64_t>(guest_ns), rate)) rate = *better;
    }
    double error_ms() const {
        return (static_cast<double>(policy.target(host_ns)) - guest_ns) / static_cast<double>(kMs);
    }
};

TEST(TimePolicy, ABusyGuestFollowsTheHost) {
    for (double speed : {0.05, 0.5, 2.0, 5.0}) {
        BusyGuest guest;
        guest.policy.start(guest.host_ns, 0, 0);
        guest.run(300, speed);
        EXPECT_LT(std::abs(guest.error_ms()), 6) << speed;
        unsigned settled = guest.entries;
        guest.run(300, speed);
        EXPECT_LT(std::abs(guest.error_ms()), 6) << speed;
        EXPECT_LE(guest.entries - settled, 20u) << "a guest of constant speed needs few corrections";
    }
}

TEST(TimePolicy, AChangeOfSpeedIsFollowed) {
    BusyGuest guest;
    guest.policy.start(guest.host_ns, 0, 0);
    guest.run(200, 2.0);
    guest.run(200, 0.2);
    EXPECT_LT(std::abs(guest.error_ms()), 6);
    guest.run(200, 4.0);
    EXPECT_LT(std::abs(guest.error_ms()), 6);
}

TEST(TimePolicy, AnOutageIsCaughtUpWith) {
    BusyGuest guest;
    guest.policy.start(guest.host_ns, 0, 1'000 * kMs);
    EXPECT_NEAR(guest.error_ms(), 1000, 1);
    guest.run(300, 1.0);
    EXPECT_LT(std::abs(guest.error_ms()), 6);
}

TEST(TimePolicy, AGuestThatBecomesFastGainsLittleTime) {
    BusyGuest guest;
    guest.policy.start(guest.host_ns, 0, 0);
    guest.run(200, 0.1);
    double gained_ms = 0;
    for (int slice = 0; slice < 40; ++slice) {
        guest.run_slice(4.0);
        gained_ms = std::max(gained_ms, -guest.error_ms());
    }
    EXPECT_LT(gained_ms, 25);
}

TEST(TimePolicy, AHaltedGuestsLeadIsTakenBackSlowly) {
    TimePolicy policy;
    policy.start(1000 * kMs, 0, 0);
    policy.halted(1100 * kMs, 120 * kMs);
    EXPECT_EQ(policy.advance(1100 * kMs, 120 * kMs), 0u);
    EXPECT_EQ(policy.host_time_of(120 * kMs), 1100 * kMs);
    EXPECT_EQ(policy.host_time_of(123 * kMs), 1104 * kMs) << "3 ms of sleep are 4 ms, not 23";
    EXPECT_EQ(policy.target(1104 * kMs), 123 * kMs);
    EXPECT_EQ(policy.host_time_of(180 * kMs), 1180 * kMs) << "after 80 ms the lead is gone";
    EXPECT_EQ(policy.target(1180 * kMs), 180 * kMs);
    EXPECT_EQ(policy.host_time_of(500 * kMs), 1500 * kMs);
    policy.halted(1140 * kMs, 160 * kMs);
    EXPECT_EQ(policy.target(1140 * kMs), 160 * kMs) << "a lead that grows again";
    EXPECT_EQ(policy.host_time_of(163 * kMs), 1144 * kMs);
    policy.halted(1300 * kMs, 290 * kMs);
    EXPECT_EQ(policy.advance(1300 * kMs, 290 * kMs), 10 * kMs) << "one that is behind still jumps";
}

TEST(TimePolicy, AHaltedGuestJumpsToItsTargetAndNeverBack) {
    TimePolicy policy;
    policy.start(1000 * kMs, 40 * kMs, 0);
    EXPECT_EQ(policy.advance(1500 * kMs, 40 * kMs), 500 * kMs);
    EXPECT_EQ(policy.advance(1500 * kMs, 540 * kMs), 0u);
    EXPECT_EQ(policy.advance(1500 * kMs, 900 * kMs), 0u) << "a guest that is ahead waits";
    EXPECT_EQ(policy.host_time_of(140 * kMs), 1100 * kMs);
    EXPECT_EQ(policy.host_time_of(0), 1000 * kMs);
}

}  // namespace
}  // namespace lockstep::drive
