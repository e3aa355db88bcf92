// SPDX-License-Identifier: Apache-2.0
#include "pair/output_gate.h"

#include <gtest/gtest.h>

#include <utility>
#include <vector>

#include "fake_ports.h"
#include "pair.h"

namespace lockstep::pair {
namespace {

using bus::changes_outside;
using bus::DiskOperation;
using bus::DiskRequest;
using bus::is_disk_read;
using bus::Output;

constexpr uint16_t kDisk = 3;

Output disk(DiskOperation operation, uint64_t offset, uint16_t device = kDisk) {
    DiskRequest request{.number = 1, .operation = operation, .offset = offset, .size = 0, .data = {}};
    if (operation != DiskOperation::kFlush) request.size = 512;
    if (operation == DiskOperation::kWrite) request.data.resize(512);
    return {device, request};
}

Output packets() { return {5, bus::Packets()}; }
Output random_request() { return {6, bus::RandomRequest()}; }

TEST(OutputGate, OnlyWritesToADiskChangeAnythingOutside) {
    EXPECT_TRUE(changes_outside(disk(DiskOperation::kWrite, 0)));
    EXPECT_FALSE(changes_outside(disk(DiskOperation::kRead, 0)));
    EXPECT_FALSE(changes_outside(disk(DiskOperation::kFlush, 0)));
    EXPECT_TRUE(changes_outside(packets()));
    EXPECT_TRUE(changes_outside({1, bus::ConsoleBytes()}));
    EXPECT_FALSE(changes_outside(random_request()));
}

TEST(OutputGate, KnowsTheReadsOfADisk) {
    EXPECT_TRUE(is_disk_read(disk(DiskOperation::kRead, 0)));
    EXPECT_FALSE(is_disk_read(disk(DiskOperation::kWrite, 0)));
    EXPECT_FALSE(is_disk_read(disk(DiskOperation::kFlush, 0)));
    EXPECT_FALSE(is_disk_read(packets()));
}

/// The time of a pair of replicas.
struct PairClock : Clock {
    explicit PairClock(const replica::Pair& the_pair) : pair(the_pair) {}
    uint64_t now_ns() const override { return pair.now * kNsPerMs; }
    void wake(uint64_t) override {}
    const replica::Pair& pair;
};

/// The gate of a primary whose backup holds the log when carry() has brought it. What leaves is kept.
struct Gated {
    Gated() { pair.protect(); }

    /// The guest makes an output; gives the position of its entry.
    LogPos make(Output output, uint64_t ago_ns = 0) {
        LogPos entry = pair.entry(record::EntryKind::kOutput);
        gate.made(entry, clock.now_ns() - ago_ns, std::move(output));
        return entry;
    }
    /// The backup receives all entries and says so.
    void acknowledge() {
        pair.flush();
        pair.carry();
    }
    LogPos end() { return pair.primary.replica.status(pair.now).appended; }

    replica::Pair pair;
    PairClock clock{pair};
    Calls calls;
    FakeOutside outside{calls};
    std::vector<LogPos>& left = outside.left;
    OutputGate gate{pair.primary.replica, clock, outside};
};

using Positions = std::vector<LogPos>;

TEST(OutputGate, AnOwnerAloneHoldsNothing) {
    replica::Pair pair;
    PairClock clock(pair);
    Calls calls;
    FakeOutside outside(calls);
    OutputGate gate(pair.primary.replica, clock, outside);
    LogPos entry = pair.entry(record::EntryKind::kOutput);
    gate.made(entry, 0, packets());
    EXPECT_EQ(outside.left, Positions{entry});
    EXPECT_EQ(gate.held(), 0u);
}

TEST(OutputGate, OutputsWaitForTheBackupAndLeaveInTheirOrder) {
    Gated guest;
    LogPos first = guest.make(packets()), second = guest.make(disk(DiskOperation::kWrite, 0));
    EXPECT_EQ(guest.left, Positions{});
    EXPECT_EQ(guest.gate.held(), 2u);
    guest.acknowledge();
    EXPECT_EQ(guest.gate.release(guest.end()), guest.end());
    EXPECT_EQ(guest.left, (Positions{first, second}));
    EXPECT_EQ(guest.gate.held(), 0u);
}

TEST(OutputGate, OnlyWhatLiesBeforeThePositionLeaves) {
    Gated guest;
    LogPos first = guest.make(packets()), second = guest.make(packets());
    guest.acknowledge();
    EXPECT_EQ(guest.gate.release(second), second);
    EXPECT_EQ(guest.left, Positions{first});
    EXPECT_EQ(guest.gate.held(), 1u);
}

TEST(OutputGate, TheReplicaIsAskedAgainForEachOneThatLeaves) {
    Gated guest;
    LogPos first = guest.make(packets());
    guest.acknowledge();
    LogPos second = guest.make(packets());  // the backup doesn't hold this one's entry
    EXPECT_EQ(guest.gate.release(guest.end()), second);
    EXPECT_EQ(guest.left, Positions{first});
    guest.acknowledge();
    guest.pair.now += replica::Timing{}.lease_ms;
    EXPECT_EQ(guest.gate.release(guest.end()), second) << "the lease is over";
    EXPECT_EQ(guest.left, Positions{first});
}

TEST(OutputGate, WhatNobodyCanNoticeDoesNotWait) {
    Gated guest;
    guest.make(packets());
    LogPos read = guest.make(disk(DiskOperation::kRead, 0)),
           flush = guest.make(disk(DiskOperation::kFlush, 0)), random = guest.make(random_request());
    EXPECT_EQ(guest.left, (Positions{read, flush, random}));
    EXPECT_EQ(guest.gate.held(), 1u);
}

TEST(OutputGate, AReadOfBytesThatAWaitingWriteTouchesWaits) {
    Gated guest;
    LogPos write = guest.make(disk(DiskOperation::kWrite, 1024));
    LogPos same = guest.make(disk(DiskOperation::kRead, 1024));
    EXPECT_EQ(guest.left, Positions{});
    LogPos beside = guest.make(disk(DiskOperation::kRead, 512)),
           other_disk = guest.make(disk(DiskOperation::kRead, 1024, kDisk + 1));
    EXPECT_EQ(guest.left, (Positions{beside, other_disk}));
    guest.acknowledge();
    guest.gate.release(guest.end());
    EXPECT_EQ(guest.left, (Positions{beside, other_disk, write, same}));
    LogPos again = guest.make(disk(DiskOperation::kRead, 1024));
    EXPECT_EQ(guest.left.back(), again) << "the write has left";
}

TEST(OutputGate, WhatIsMadeOnceTheBackupIsLostDoesNotOvertakeWhatWaits) {
    Gated guest;
    LogPos waiting = guest.make(packets());
    guest.pair.close(replica::ChannelEnd::kPeerClosed, replica::ChannelEnd::kPeerClosed);
    guest.pair.primary.replica.on_arbiter(guest.pair.now, Term(2), replica::ArbiterAnswer::kWon);
    ASSERT_EQ(guest.pair.primary.state(), replica::State::kSolo);
    LogPos later = guest.make(packets());
    EXPECT_EQ(guest.left, Positions{});
    LogPos read = guest.make(disk(DiskOperation::kRead, 0));
    EXPECT_EQ(guest.left, Positions{read});
    EXPECT_EQ(guest.gate.release(guest.end()), guest.end());
    EXPECT_EQ(guest.left, (Positions{read, waiting, later}));
}

TEST(OutputGate, ABackupLetsNothingOutAndKeepsNothing) {
    replica::Pair pair;
    pair.protect();
    PairClock clock(pair);
    Calls calls;
    FakeOutside outside(calls);
    OutputGate gate(pair.backup.replica, clock, outside);
    for (const Output& output :
         {packets(), disk(DiskOperation::kWrite, 0), disk(DiskOperation::kRead, 0), random_request()})
        gate.made(LogPos(0), 0, output);
    EXPECT_EQ(outside.left, Positions{});
    EXPECT_EQ(gate.held(), 0u);
}

TEST(OutputGate, WhatIsDiscardedNeverLeaves) {
    Gated guest;
    guest.make(packets());
    guest.acknowledge();
    guest.gate.discard();
    guest.gate.release(guest.end());
    EXPECT_EQ(guest.left, Positions{});
}

TEST(OutputGate, MeasuresTheWaitsOfWhatWasHeld) {
    Gated guest;
    constexpr uint64_t kSecond_ns = 1'000'000'000;
    guest.gate.set_round_trip(kSecond_ns);
    guest.make(disk(DiskOperation::kRead, 0));
    guest.make(packets(), 3 * kSecond_ns);
    guest.acknowledge();
    guest.gate.release(guest.end());
    const OutputGate::Waits& waits = guest.gate.waits();
    EXPECT_EQ(waits.all.count(), 1u) << "the read didn't wait";
    EXPECT_EQ(waits.all.longest_ns(), 3 * kSecond_ns);
    EXPECT_EQ(waits.all.longest_ns() - waits.beyond_link.longest_ns(), kSecond_ns);
}

}  // namespace
}  // namespace lockstep::pair
