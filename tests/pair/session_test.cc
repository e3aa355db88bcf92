// SPDX-License-Identifier: Apache-2.0
// A session as an object: what it asks of its ports, and what it takes no notice of.
#include "pair/session.h"

#include <gtest/gtest.h>

#include <functional>

#include "fake_ports.h"
#include "record/payloads.h"

namespace lockstep::pair {
namespace {

using Lines = std::vector<std::string>;
using replica::StopReason;

bus::Output a_packet() {
    bus::Packets packets;
    packets.add(Bytes(60));
    return {5, packets};
}

Config config_of(uint64_t self) {
    Config config;
    config.replica.vm = 7;
    config.replica.self = self;
    config.replica.vm_name = "toy";
    config.replica.build = "b";
    config.replica.cpu = "c";
    config.replica.tenure = replica::Tenure::kLeased;
    config.machine = Bytes(100, 1);
    return config;
}

/// A session with ports that do nothing by themselves.
struct Side : FakePorts {
    explicit Side(uint64_t self) : session(ports(), config_of(self)) {}
    void go_live() {
        session.own(Term(1), clock.now_ms());
        session.on_made({});
    }
    /// The guest makes an output, with its entry.
    LogPos output() {
        LogPos position(entries++);
        session.on_entry(position,
                         record::make_entry(Icount(100 + entries), 5, record::OutputMark{position.value()}));
        session.on_output(position, clock.now_ns(), a_packet());
        session.on_batch_end(replica::Flush::kNow);
        return position;
    }
    uint64_t entries = 0;
    Session session;
};

// --- Standstill ---

struct Still {
    Calls calls;
    FakeGuest guest{calls};
    FakeOutside outside{calls};
    Standstill standstill{guest, outside};
};

TEST(Standstill, ForACopyRequestsMayGoOn) {
    Still still;
    still.outside.flying = 3;
    still.standstill.stop(StopReason::kSynchronise);
    EXPECT_EQ(still.standstill.on_paused(still.guest.paused, Icount(7)), Icount(7));
    EXPECT_EQ(still.calls.take(), Lines{"pause"});
}

TEST(Standstill, WhatIsHandedOverHasNothingInFlightAndEveryCompletion) {
    Still still;
    still.outside.flying = 1;
    still.standstill.stop(StopReason::kHandOver);
    EXPECT_FALSE(still.standstill.on_paused(still.guest.paused, Icount(7)));
    EXPECT_EQ(still.calls.take(), (Lines{"pause", "drain"}));
    still.outside.flying = 0, still.outside.completed = 1;
    still.standstill.on_drained();
    EXPECT_EQ(still.calls.take(), Lines{"settle"});
    still.outside.completed = 2;  // of random bytes, say
    EXPECT_FALSE(still.standstill.on_settled(still.guest.settled));
    EXPECT_EQ(still.calls.take(), Lines{"settle"});
    EXPECT_EQ(still.standstill.on_settled(still.guest.settled), Icount(7));
}

TEST(Standstill, AFullBufferDoesNotTakeThePlaceOfAHandOver) {
    Still still;
    still.standstill.stop(StopReason::kHandOver);
    uint64_t pause = still.guest.paused;
    still.standstill.stop(StopReason::kBufferFull);
    EXPECT_FALSE(still.standstill.on_paused(pause, Icount(7)));
    EXPECT_EQ(still.standstill.on_settled(still.guest.settled), Icount(7));
}

TEST(Standstill, ForAFullBufferNobodyIsTold) {
    Still still;
    still.standstill.stop(StopReason::kBufferFull);
    EXPECT_FALSE(still.standstill.on_paused(still.guest.paused, Icount(7)));
}

TEST(Standstill, AnAnswerToAnEarlierStopIsNone) {
    Still still;
    still.standstill.stop(StopReason::kSynchronise);
    uint64_t first = still.guest.paused;
    still.standstill.start();
    EXPECT_FALSE(still.standstill.on_paused(first, Icount(7)));
    still.standstill.stop(StopReason::kSynchronise);
    EXPECT_FALSE(still.standstill.on_paused(first, Icount(7)));
    EXPECT_EQ(still.standstill.on_paused(still.guest.paused, Icount(8)), Icount(8));
}

// --- Phases ---

void bring_to(Side& side, Phase phase) {
    if (phase == Phase::kProving) side.session.prove();
    if (phase == Phase::kMaking) side.session.own(Term(1), 1);
    if (phase == Phase::kBackup) side.session.back_up();
    if (phase == Phase::kLive || phase == Phase::kOff) side.go_live();
    if (phase == Phase::kOff) {
        side.session.on_entry(LogPos(0), record::make_entry(Icount(9), 0, record::EndMark{}));
        side.session.on_guest_off();
    }
    if (phase == Phase::kOver) side.session.end(Ending::Kind::kDismissed, "enough");
    ASSERT_EQ(side.session.phase(), phase);
}

/// What the arbiter says of a VM that nobody has ever owned.
replica::TermView nobodys() {
    replica::TermView view;
    view.reachable = true;
    return view;
}

/// How each event of the table comes.
const std::pair<Event, std::function<void(Session&)>> kComes[] = {
    {Event::kTime, [](Session& s) { s.on_time(); }},
    {Event::kWake, [](Session& s) { s.on_wake(); }},
    {Event::kLinkOpen, [](Session& s) { s.on_link_open(); }},
    {Event::kLinkClosed, [](Session& s) { s.on_link_closed(replica::ChannelEnd::kBroken, "it broke"); }},
    {Event::kLinkMessage, [](Session& s) { s.on_link_message(Bytes(100)); }},
    {Event::kLinkDatagram, [](Session& s) { s.on_link_datagram(Bytes(100)); }},
    {Event::kLinkDrained, [](Session& s) { s.on_link_drained(); }},
    {Event::kLooked, [](Session& s) { s.on_looked(nobodys()); }},
    {Event::kClaimed, [](Session& s) { s.on_claimed(Term(2), replica::ArbiterAnswer::kUnreachable, "why"); }},
    {Event::kRenewed, [](Session& s) { s.on_renewed(Term(1), replica::Renewal::kSuperseded, "who"); }},
    {Event::kDrained, [](Session& s) { s.on_drained(); }},
    {Event::kLinks, [](Session& s) { s.on_links(1); }},
    {Event::kMade, [](Session& s) { s.on_made(error("no memory")); }},
    {Event::kEntry,
     [](Session& s) { s.on_entry(LogPos(0), record::make_entry(Icount(9), 0, record::OutputMark{0})); }},
    {Event::kOutput, [](Session& s) { s.on_output(LogPos(0), 1, a_packet()); }},
    {Event::kProgress, [](Session& s) { s.on_progress(Icount(99)); }},
    {Event::kBatchEnd, [](Session& s) { s.on_batch_end(replica::Flush::kNow); }},
    {Event::kGuestOff, [](Session& s) { s.on_guest_off(); }},
    {Event::kUnanswered, [](Session& s) { s.on_unanswered({a_packet()}); }},
    {Event::kPaused, [](Session& s) { s.on_paused(1, Icount(9)); }},
    {Event::kSettled, [](Session& s) { s.on_settled(1); }},
    {Event::kSaved, [](Session& s) { s.on_saved(Icount(9), Bytes(10)); }},
    {Event::kCareOver, [](Session& s) { s.on_care_over(); }},
    {Event::kReplayed, [](Session& s) { s.on_replayed(LogPos(1), Icount(9)); }},
    {Event::kReplayedOutput, [](Session& s) { s.on_replayed_output(LogPos(1), a_packet()); }},
    {Event::kDivergence, [](Session& s) { s.on_divergence("it differs", LogPos(1), Icount(9), 1); }},
};

TEST(SessionPhases, TheTableOfTheTestHasEveryEvent) {
    ASSERT_EQ(std::size(kComes), std::size(kHeededIn));
    for (size_t i = 0; i < std::size(kComes); ++i) EXPECT_EQ(static_cast<size_t>(kComes[i].first), i);
}

TEST(SessionPhases, WhatComesTooEarlyOrTooLateChangesNothing) {
    for (Phase phase : kAllPhases) {
        for (const auto& [event, come] : kComes) {
            if (heeds(phase, event)) continue;
            Side side(1);
            bring_to(side, phase);
            side.calls.take();
            side.host.said.clear();
            Icount complete = side.session.complete();
            come(side.session);
            std::string where =
                fmt::format("event {} in phase {}", static_cast<int>(event), static_cast<int>(phase));
            EXPECT_EQ(side.session.phase(), phase) << where;
            EXPECT_EQ(side.session.complete(), complete) << where;
            EXPECT_EQ(side.calls.made, Lines{}) << where;
            EXPECT_EQ(side.host.said, Lines{}) << where;
            EXPECT_TRUE(side.outside.outputs.empty() && side.link.sent.empty()) << where;
        }
    }
}

TEST(Session, AnOwnerProvesThatTheVmIsNobodysBeforeItsGuestIsMade) {
    Side side(1);
    side.session.prove();
    EXPECT_EQ(side.calls.take(), Lines{"look at 0"});
    side.session.on_looked(nobodys());
    EXPECT_EQ(side.calls.take(), Lines{"claim 1"});
    side.session.on_claimed(Term(1), replica::ArbiterAnswer::kWon, "");
    EXPECT_EQ(side.calls.take(), Lines{"renew 1"});
    side.session.on_renewed(Term(1), replica::Renewal::kRenewed, "");
    EXPECT_EQ(side.calls.take(), Lines{"make"});
    side.session.on_made({});
    Lines calls = side.calls.take();
    ASSERT_GE(calls.size(), 3u);
    EXPECT_EQ(Lines(calls.begin(), calls.begin() + 3), (Lines{"let inputs in", "go live at 0", "went live"}));
    EXPECT_TRUE(side.session.is_live());
}

TEST(Session, ATermWhoseGuestCantBeMadeIsSetFree) {
    Side side(1);
    side.session.own(Term(3), 1);
    side.session.on_made(error("no memory"));
    EXPECT_EQ(side.calls.take(), (Lines{"make", "stop", "set 3 free", "ended"}));
    EXPECT_EQ(side.host.ending->kind, Ending::Kind::kFailed);
    EXPECT_EQ(side.host.ending->sentence, "no memory");
}

TEST(Session, AGuestThatIsOffEndsTheSessionOnceItsLastWritesHaveEnded) {
    Side side(1);
    side.go_live();
    side.calls.take();
    side.session.on_entry(LogPos(0), record::make_entry(Icount(9), 0, record::EndMark{}));
    side.session.on_guest_off();
    EXPECT_EQ(side.calls.count("drain"), 1u);
    EXPECT_FALSE(side.host.ending) << "the disks have not drained yet";
    side.calls.take();
    side.session.on_drained();
    EXPECT_EQ(side.calls.take(), (Lines{"stop", "set 1 free", "ended"}));
    EXPECT_EQ(side.host.ending->kind, Ending::Kind::kPoweredOff);
}

// --- Two sessions ---

/// A primary and a backup, whose messages are carried by hand.
struct Two {
    Side primary{11}, backup{22};

    void carry() {
        for (bool more = true; more;) {
            more = false;
            for (auto [from, to] : {std::pair{&primary, &backup}, {&backup, &primary}}) {
                for (const Bytes& message : std::exchange(from->link.sent, {}))
                    to->session.on_link_message(message), more = true;
                for (const Bytes& datagram : std::exchange(from->link.datagrams, {}))
                    to->session.on_link_datagram(datagram), more = true;
            }
        }
    }
    /// Lets time pass for both.
    void pass(uint64_t ms) {
        for (Side* side : {&primary, &backup}) side->clock.ns += ms * kNsPerMs;
        for (Side* side : {&primary, &backup}) side->session.on_time();
    }
    void protect() {
        primary.go_live();
        backup.session.back_up();
        primary.link.open = backup.link.open = true;
        backup.session.on_link_open();
        primary.session.on_link_open();
        carry();
        ASSERT_EQ(primary.calls.count("pause"), 1u);
        primary.session.on_paused(primary.guest.paused, Icount(100));
        ASSERT_EQ(primary.calls.count("save"), 1u);
        primary.session.on_saved(Icount(100), Bytes(5000, 3));
        carry();
        ASSERT_EQ(backup.calls.count("make from 5000 bytes"), 1u);
        backup.session.on_made({});
        carry();
        ASSERT_EQ(primary.session.replica()->state(), replica::State::kProtected);
        ASSERT_EQ(backup.session.replica()->state(), replica::State::kReplaying);
    }
};

TEST(Session, OutputsOfAProtectedGuestWaitForTheBackup) {
    Two two;
    two.protect();
    LogPos output = two.primary.output();
    EXPECT_EQ(two.primary.session.gate()->held(), 1u);
    EXPECT_FALSE(two.primary.session.may_write(output));
    two.carry();
    EXPECT_EQ(two.primary.outside.left, std::vector<LogPos>{output});
    EXPECT_TRUE(two.primary.session.may_write(output));
    EXPECT_EQ(two.backup.calls.count("replay 1"), 1u);
    two.primary.clock.ns += 10'000 * kNsPerMs;
    EXPECT_FALSE(two.primary.session.may_write(output)) << "the last look of a process that was stopped";
}

TEST(Session, ABackupGoneLiveSendsWhatMayNotHaveLeft) {
    Two two;
    two.protect();
    two.primary.output();
    two.carry();
    two.primary.output();
    two.carry();
    for (uint64_t position : {0, 1}) two.backup.session.on_replayed_output(LogPos(position), a_packet());
    EXPECT_EQ(two.backup.calls.count("show"), 2u);
    two.backup.session.on_replayed(LogPos(2), Icount(102));
    two.backup.session.on_link_closed(replica::ChannelEnd::kPeerClosed, "the other side is gone");
    EXPECT_EQ(two.backup.calls.count("claim 2"), 1u);
    EXPECT_TRUE(two.backup.outside.left.empty());
    two.backup.session.on_claimed(Term(2), replica::ArbiterAnswer::kWon, "");
    for (int i = 0; i < 100 && !two.backup.session.is_live(); ++i) two.pass(20);
    ASSERT_TRUE(two.backup.session.is_live());
    EXPECT_EQ(two.backup.outside.outputs.size(), 2u) << "nobody has said that they left";
    EXPECT_EQ(two.backup.calls.count("outside goes live"), 1u);
    EXPECT_EQ(two.backup.calls.count("go live at 2"), 1u);
    two.backup.session.on_unanswered({a_packet()});
    EXPECT_EQ(two.backup.outside.outputs.size(), 3u);
}

TEST(Session, ACopyGoesAsTheLinkTakesIt) {
    Two two;
    two.primary.go_live();
    two.backup.session.back_up();
    two.primary.link.open = two.backup.link.open = true;
    two.backup.session.on_link_open();
    two.primary.session.on_link_open();
    two.carry();
    two.primary.session.on_paused(two.primary.guest.paused, Icount(100));
    two.primary.link.queued = ClonePace{}.ahead;
    two.primary.session.on_saved(Icount(100), Bytes(5000, 3));
    two.carry();
    EXPECT_EQ(two.backup.calls.count("make from 5000 bytes"), 0u);
    EXPECT_EQ(two.primary.calls.count("resume"), 1u) << "the guest doesn't wait for its copy to leave";
    two.primary.link.queued = 0;
    two.primary.session.on_link_drained();
    two.carry();
    EXPECT_EQ(two.backup.calls.count("make from 5000 bytes"), 1u);
}

}  // namespace
}  // namespace lockstep::pair
