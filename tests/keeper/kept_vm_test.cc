// SPDX-License-Identifier: Apache-2.0
// What a daemon does about one VM of its folder, decision by decision.
#include "keeper/kept_vm.h"

#include <gtest/gtest.h>

namespace lockstep::keeper {
namespace {

using vmm::Restart;

KeptVm running(Restart restart, uint64_t limit = 5) {
    KeptVm vm({.automatic = true, .restart = restart, .limit = limit});
    vm.on_host_started(0);
    vm.on_start_begun(0);
    vm.on_running(0);
    return vm;
}

host::TermLook lease(const std::string& text, bool free = false) {
    return {
        .reachable = true, .latest = Term(3), .winner = "x", .lease = text, .free = free, .owner = "x on b"};
}

TEST(KeptVm, StartsWithTheHostIfItIsToldTo) {
    KeptVm automatic({.automatic = true}), other({});
    automatic.on_host_started(7);
    other.on_host_started(7);
    EXPECT_TRUE(automatic.start_is_due(7));
    EXPECT_FALSE(other.start_is_due(7));
    EXPECT_EQ(other.state(), State::kOff);
    other.on_start_wanted(8);
    EXPECT_TRUE(other.start_is_due(8));
}

TEST(KeptVm, EndsAreAnsweredByTheRule) {
    struct Case {
        Restart restart;
        End end;
        State state;
    };
    for (const Case& one : {Case{Restart::kOnFailure, End::kFailed, State::kResting},
                            {Restart::kOnFailure, End::kPoweredOff, State::kOff},
                            {Restart::kOnFailure, End::kElsewhere, State::kElsewhere},
                            {Restart::kAlways, End::kFailed, State::kResting},
                            {Restart::kAlways, End::kPoweredOff, State::kResting},
                            {Restart::kAlways, End::kElsewhere, State::kElsewhere},
                            {Restart::kNever, End::kFailed, State::kFailed},
                            {Restart::kNever, End::kPoweredOff, State::kOff},
                            {Restart::kNever, End::kElsewhere, State::kElsewhere}}) {
        KeptVm vm = running(one.restart);
        vm.on_ended(one.end, "why", 10);
        EXPECT_EQ(vm.state(), one.state) << vmm::name_of(one.restart) << ", " << name_of(one.end);
        EXPECT_EQ(vm.why(), "why");
    }
}

TEST(KeptVm, AnOperatorsStopEndsAllRestarts) {
    for (End end : {End::kPoweredOff, End::kFailed}) {
        KeptVm vm = running(Restart::kAlways);
        vm.on_stop_wanted(5);
        vm.on_ended(end, "", 6);
        EXPECT_EQ(vm.state(), State::kOff);
    }
    KeptVm resting = running(Restart::kAlways);
    resting.on_ended(End::kFailed, "", 6);
    resting.on_stop_wanted(7);
    EXPECT_EQ(resting.state(), State::kOff);
    resting.on_start_wanted(8);
    resting.on_start_begun(8);
    resting.on_running(8);
    resting.on_ended(End::kPoweredOff, "", 9);
    EXPECT_EQ(resting.state(), State::kResting) << "what was stopped once isn't stopped for ever";
}

TEST(KeptVm, RestartsHaveALimitAndRestsGetLonger) {
    KeptVm vm = running(Restart::kOnFailure, 3);
    uint64_t now = 100, last_rest = 0;
    for (int i = 0; i < 3; ++i) {
        vm.on_ended(End::kFailed, "it crashed", now);
        ASSERT_EQ(vm.state(), State::kResting);
        uint64_t rest = 0;
        while (!vm.start_is_due(now + rest)) ++rest;
        EXPECT_GT(rest, last_rest);
        last_rest = rest;
        now += rest;
        vm.on_start_begun(now);
        vm.on_running(now);
    }
    KeptVm patient = vm;
    vm.on_ended(End::kFailed, "it crashed", now);
    EXPECT_EQ(vm.state(), State::kFailed);
    EXPECT_NE(vm.why().find("it crashed; it was started again 3 times"), std::string::npos) << vm.why();
    vm.on_start_wanted(now);
    EXPECT_TRUE(vm.start_is_due(now)) << "an operator has seen to it";
    patient.on_ended(End::kFailed, "", now + kRestartWindowS + 1);
    EXPECT_EQ(patient.state(), State::kResting) << "old restarts count no more";
}

TEST(KeptVm, ALeaseThatChangesIsOfAnOwnerElsewhere) {
    KeptVm vm = running(Restart::kOnFailure);
    vm.on_ended(End::kFailed, "killed", 10);
    vm.on_looked(lease("held 1"), 10);
    EXPECT_EQ(vm.state(), State::kResting) << "it may be the dead process's own";
    vm.on_looked(lease("held 2"), 11);
    EXPECT_EQ(vm.state(), State::kElsewhere);
    EXPECT_NE(vm.why().find("x on b"), std::string::npos);
    for (uint64_t now = 12; now < 100; ++now) vm.on_looked(lease("held " + std::to_string(now)), now);
    EXPECT_EQ(vm.state(), State::kElsewhere);
    vm.on_looked({.reachable = false}, 200);
    EXPECT_EQ(vm.state(), State::kElsewhere) << "an arbiter out of reach tells nothing";
    KeptVm switched_off = vm;
    switched_off.on_looked(lease("held 99", true), 101);
    EXPECT_EQ(switched_off.state(), State::kOff);
    vm.on_looked(lease("held 99"), 99 + kLeaseSilenceS - 1);
    EXPECT_EQ(vm.state(), State::kElsewhere);
    vm.on_looked(lease("held 99"), 99 + kLeaseSilenceS);
    EXPECT_EQ(vm.state(), State::kResting) << "both sides have died: it is started again";
}

TEST(KeptVm, WhatIsKnownOutlivesTheDaemon) {
    KeptVm vm = running(Restart::kOnFailure, 1), later({.restart = Restart::kOnFailure, .limit = 1});
    vm.on_ended(End::kFailed, "killed", 10);
    later.load(vm.to_json());
    EXPECT_EQ(later.to_json()["state"], "resting");
    EXPECT_FALSE(later.start_is_due(10));
    EXPECT_TRUE(later.start_is_due(20));
    later.on_start_begun(20);
    later.on_ended(End::kFailed, "killed", 21);
    EXPECT_EQ(later.state(), State::kFailed) << "the restart before counts";
    for (const char* text : {"null", "[]", "{}", R"({"state": "fine"})", R"({"state": 7})",
                             R"({"state": "off", "since": "x"})"}) {
        KeptVm odd({});
        odd.load(nlohmann::json::parse(text));
        EXPECT_EQ(odd.state(), State::kOff) << text;
    }
}

}  // namespace
}  // namespace lockstep::keeper
