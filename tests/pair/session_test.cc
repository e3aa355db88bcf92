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

Config config_of(uint64_t self, uint64_t pace) {
    Config config;
    config.replica.vm = 7;
    config.replica.self = self;
    config.replica.host = fmt::format("host of {}", self);
    config.replica.vm_name = "toy";
    config.replica.build = "b";
    config.replica.cpu = "c";
    config.replica.tenure = replica::Tenure::kLeased;
    config.machine = Bytes(100, 1);
    config.clone_pace.bytes_per_second = pace;
    return config;
}

/// A session with ports that do nothing by themselves.
struct Side : FakePorts {
    explicit Side(uint64_t self, uint64_t pace = 0) : session(ports(), config_of(self, pace)) {}
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

TEST(Standstill, WhatIsHandedOverHasNothingInFlightAndEveryCompletion) {
    Still still;
    still.outside.flying = 1;
    still.standstill.stop(StopReason::kHandOver);
    still.standstill.on_paused(still.guest.paused, Icount(7));
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
    still.standstill.on_paused(pause, Icount(7));
    EXPECT_EQ(still.standstill.on_settled(still.guest.settled), Icount(7));
}

TEST(Standstill, ForAFullBufferNothingButThePauseIsAskedFor) {
    Still still;
    still.outside.flying = 1;
    still.standstill.stop(StopReason::kBufferFull);
    still.standstill.on_paused(still.guest.paused, Icount(7));
    EXPECT_EQ(still.calls.take(), Lines{"pause"});
    EXPECT_FALSE(still.standstill.on_settled(still.guest.paused));
}

TEST(Standstill, AnAnswerToAnEarlierStopIsNone) {
    Still still;
    still.standstill.stop(StopReason::kHandOver);
    uint64_t first = still.guest.paused;
    still.standstill.start();
    still.standstill.on_paused(first, Icount(7));
    still.standstill.stop(StopReason::kHandOver);
    still.standstill.on_paused(first, Icount(7));
    EXPECT_EQ(still.calls.count("settle"), 0u);
    still.standstill.on_paused(still.guest.paused, Icount(8));
    EXPECT_EQ(still.standstill.on_settled(still.guest.settled), Icount(8));
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
    {Event::kRound, [](Session& s) { s.on_round(1); }},
    {Event::kCut, [](Session& s) { s.on_cut(1, Icount(9), Bytes(10)); }},
    {Event::kCareOver, [](Session& s) { s.on_care_over(); }},
    {Event::kLoaded, [](Session& s) { s.on_loaded(error("damaged")); }},
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
    /// `pace`: bytes a second of a copy at most; 0: no bound.
    explicit Two(uint64_t pace = 0) : primary(11, pace) {}
    Side primary, backup{22};

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
    void renewed() {
        primary.session.on_renewed(Term(1), replica::Renewal::kRenewed, "");
        primary.session.on_time();
    }
    void connect() {
        primary.go_live();
        backup.session.back_up();
        primary.link.open = backup.link.open = true;
        backup.session.on_link_open();
        primary.session.on_link_open();
        carry();
    }
    /// The primary's session goes on by itself, as it wanted to.
    void wake() {
        for (int i = 0; i < 10; ++i) {
            primary.clock.ns = std::max(primary.clock.ns, primary.clock.wake_ns);
            primary.session.on_wake();
        }
        carry();
    }
    /// Brings a copy to its first round.
    void start_copy() {
        connect();
        wake();
        ASSERT_EQ(backup.calls.count("make for a copy"), 1u);
        ASSERT_EQ(primary.calls.count("start clone"), 0u);
        backup.session.on_made({});
        carry();
        ASSERT_EQ(primary.calls.count("start clone"), 1u);
    }
    void cut() {
        start_copy();
        primary.guest.pieces = {{Taken::kMore, 100}, {Taken::kNextRound, 50}};
        primary.session.on_round(primary.guest.clone);
        wake();
        ASSERT_EQ(primary.calls.count("next round"), 1u);
        primary.guest.pieces = {{Taken::kCut, 30}};
        primary.session.on_round(primary.guest.clone);
        wake();
        ASSERT_EQ(primary.calls.count("cut"), 1u);
        for (const char* loaded :
             {"load 100 bytes of pages", "load 50 bytes of pages", "load 30 bytes of pages"})
            ASSERT_EQ(backup.calls.count(loaded), 1u) << loaded;
    }
    void protect() {
        cut();
        primary.guest.pieces = {{Taken::kMore, 20}, {Taken::kComplete, 10}};
        primary.session.on_cut(primary.guest.clone, Icount(100), Bytes(5000, 3));
        wake();
        ASSERT_EQ(primary.calls.count("end clone"), 1u);
        ASSERT_EQ(backup.calls.count("load 5000 bytes of state"), 1u);
        ASSERT_EQ(backup.calls.count("start replay at 0"), 1u);
        renewed();
        backup.session.on_loaded({});
        carry();
        ASSERT_EQ(primary.session.replica()->state(), replica::State::kSynchronising);
        renewed();  // the arbiter knows of the pair
        carry();
        ASSERT_EQ(primary.session.replica()->state(), replica::State::kProtected);
        ASSERT_EQ(backup.session.replica()->state(), replica::State::kReplaying);
        ASSERT_EQ(primary.calls.count("pause"), 0u);
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

// What the guest wrote last waits for a dead primary's writes, and the wake-up that was asked for may be an earlier one.
TEST(Session, AGuestThatGoesOffAfterAFailOverIsWokenUpForItsLastWrites) {
    Two two;
    two.protect();
    two.backup.session.on_link_closed(replica::ChannelEnd::kPeerClosed, "the other side is gone");
    two.backup.session.on_claimed(Term(2), replica::ArbiterAnswer::kWon, "");
    ASSERT_TRUE(two.backup.session.is_live());
    two.backup.outside.flying = 1;
    two.backup.session.on_guest_off();
    ASSERT_EQ(two.backup.session.phase(), Phase::kOff);
    EXPECT_FALSE(two.backup.session.may_write(LogPos(0)));
    two.backup.clock.wake_ns = 0;
    two.backup.session.on_wake();
    ASSERT_GT(two.backup.clock.wake_ns, two.backup.clock.ns);
    two.backup.clock.ns = two.backup.clock.wake_ns;
    two.backup.session.on_wake();
    EXPECT_TRUE(two.backup.session.may_write(LogPos(0)));
    two.backup.session.on_drained();
    EXPECT_EQ(two.backup.host.ending->kind, Ending::Kind::kPoweredOff);
}

TEST(Session, ASideToWhichTheGuestIsHandedOverHearsTheOthersDatagrams) {
    Two two;
    two.protect();
    ASSERT_TRUE(two.primary.session.hand_over());
    two.primary.session.on_paused(two.primary.guest.paused, Icount(100));
    two.primary.session.on_settled(two.primary.guest.settled);
    two.carry();
    two.backup.session.on_claimed(Term(2), replica::ArbiterAnswer::kWon, "");
    ASSERT_TRUE(two.backup.session.is_live());
    EXPECT_EQ(two.backup.calls.count("close the channel"), 1u);
    EXPECT_EQ(two.backup.calls.count("close"), 0u);
    two.carry();
    EXPECT_EQ(two.primary.host.ending->kind, Ending::Kind::kHandedOver);
}

TEST(Session, AnOwnerThatHasLostItsTermSaysThatItIsDone) {
    Side side{11};
    side.go_live();
    side.session.on_renewed(Term(1), replica::Renewal::kSuperseded, "somebody has claimed a newer term");
    EXPECT_EQ(side.host.ending->kind, Ending::Kind::kLost);
    EXPECT_EQ(side.calls.count("set 1 free"), 1u);
}

TEST(Session, PacketsOfADeadPrimaryWaitForTheGuestToBeLiveAndComeInAfter) {
    Two two;
    two.protect();
    std::optional<Bytes> words = two.primary.session.replica()->last_words();
    ASSERT_TRUE(words);
    auto comes = [&](size_t size) {
        two.backup.session.on_link_datagram(replica::encode_orphans(*words, 5, Bytes(size)));
    };
    comes(10);  // stale by then
    two.pass(600);
    two.carry();
    two.pass(600);
    two.carry();
    comes(20);
    two.backup.session.on_link_closed(replica::ChannelEnd::kPeerClosed, "the other side is gone");
    comes(30);
    two.backup.calls.take();
    two.backup.session.on_claimed(Term(2), replica::ArbiterAnswer::kWon, "");
    ASSERT_TRUE(two.backup.session.is_live());
    Lines wanted = {"close the channel",    "outside goes live",    "go live at 0",
                    "let 20 bytes in at 5", "let 30 bytes in at 5", "went live"};
    Lines calls = two.backup.calls.take();
    std::erase_if(calls, [&](const std::string& call) { return std::ranges::count(wanted, call) == 0; });
    EXPECT_EQ(calls, wanted);
    comes(40);
    EXPECT_EQ(two.backup.calls.take(), Lines{"let 40 bytes in at 5"});
}

TEST(KeptPackets, HaveABound) {
    KeptPackets kept;
    for (int i = 0; i < 5; ++i) kept.add({1, 5, Bytes(KeptPackets::kMostBytes / 3)});
    EXPECT_EQ(kept.take(1).size(), 3u);
    kept.add({1, 5, Bytes(KeptPackets::kMostBytes)});
    EXPECT_EQ(kept.take(1).size(), 1u);
}

// --- A copy ---

TEST(Session, ACopyGoesAsTheLinkTakesIt) {
    Two two;
    two.start_copy();
    two.primary.link.queued = 1;
    two.primary.guest.pieces = {{Taken::kMore, 100}, {Taken::kMore, 100}};
    two.primary.session.on_round(two.primary.guest.clone);
    two.wake();
    EXPECT_EQ(two.primary.guest.pieces.size(), 2u) << "nothing is taken that the link doesn't";
    two.primary.link.queued = 0;
    two.primary.session.on_link_drained();
    EXPECT_EQ(two.primary.guest.pieces.size(), 1u) << "one piece, then others get their turn";
    two.carry();
    EXPECT_EQ(two.backup.calls.count("load 100 bytes of pages"), 1u);
    two.wake();
    EXPECT_EQ(two.primary.guest.pieces.size(), 0u);
}

TEST(Session, ACopyGoesNoFasterThanItMay) {
    Two two(1'000'000);
    two.start_copy();
    for (int i = 0; i < 100; ++i) two.primary.guest.pieces.emplace_back(Taken::kMore, 1000);
    uint64_t start_ns = two.primary.clock.ns;
    two.primary.session.on_round(two.primary.guest.clone);
    while (!two.primary.guest.pieces.empty()) {
        ASSERT_GE(two.primary.clock.wake_ns, two.primary.clock.ns) << "it goes on by itself";
        two.primary.clock.ns = std::max(two.primary.clock.ns + 1, two.primary.clock.wake_ns);
        two.primary.session.on_wake();
    }
    uint64_t took_ms = (two.primary.clock.ns - start_ns) / kNsPerMs;
    EXPECT_GE(took_ms, 90u);
    EXPECT_LE(took_ms, 105u);
}

TEST(Session, ACopyEndsWithItsLink) {
    for (bool cut : {false, true}) {
        Two two;
        two.cut();
        uint64_t number = two.primary.guest.clone;
        if (cut) two.primary.session.on_cut(number, Icount(100), Bytes(10));
        two.primary.link.open = false;
        two.primary.session.on_link_closed(replica::ChannelEnd::kPeerClosed, "the other side is gone");
        EXPECT_EQ(two.primary.calls.count("end clone"), 1u);
        EXPECT_EQ(two.primary.session.replica()->state(), replica::State::kSolo);
        two.primary.calls.take();
        two.primary.session.on_cut(number, Icount(100), Bytes(10));
        EXPECT_EQ(two.primary.calls.made, Lines{}) << "it comes too late";
        EXPECT_FALSE(two.primary.session.replica()->wants_log());
    }
}

TEST(Session, ACopyThatIsntWantedAnyMoreEnds) {
    Two two;
    two.cut();
    ASSERT_TRUE(two.primary.session.unprotect());
    two.carry();
    EXPECT_EQ(two.primary.calls.count("end clone"), 1u);
    EXPECT_EQ(two.primary.session.replica()->state(), replica::State::kSolo);
    EXPECT_EQ(two.backup.host.ending->kind, Ending::Kind::kDismissed);
}

TEST(Session, ACopyOfAGuestThatIsResetBeginsAnew) {
    Two two;
    two.start_copy();
    two.primary.guest.pieces = {{Taken::kMore, 100}, {Taken::kVoid, 0}};
    two.primary.session.on_round(two.primary.guest.clone);
    two.wake();
    EXPECT_EQ(two.primary.calls.count("end clone"), 1u);
    EXPECT_EQ(two.primary.session.replica()->state(), replica::State::kSolo);
    EXPECT_EQ(two.backup.host.ending->kind, Ending::Kind::kDismissed);
    two.primary.link.open = false;
    two.primary.calls.take();
    two.pass(replica::Timing{}.ask_ms + 1);
    EXPECT_EQ(two.primary.calls.count("ask for a backup"), 1u);
}

TEST(Session, ABackupThatCantReadAPageIsNone) {
    Two two;
    two.start_copy();
    two.backup.guest.refuses_pages = true;
    two.primary.guest.pieces = {{Taken::kMore, 100}};
    two.primary.session.on_round(two.primary.guest.clone);
    two.carry();
    EXPECT_EQ(two.backup.host.ending->kind, Ending::Kind::kFailed);
    EXPECT_EQ(two.primary.session.replica()->state(), replica::State::kSolo);
}

/// The guest has claimed the last page and is about to give it.
TEST(Session, APageThatTheGuestIsAboutToGiveIsAskedForAgain) {
    Two two;
    two.start_copy();
    two.primary.session.on_round(two.primary.guest.clone);
    EXPECT_GT(two.primary.clock.wake_ns, two.primary.clock.ns);
    two.primary.guest.pieces = {{Taken::kMore, 77}};
    two.wake();
    EXPECT_EQ(two.backup.calls.count("load 77 bytes of pages"), 1u);
}

}  // namespace
}  // namespace lockstep::pair
