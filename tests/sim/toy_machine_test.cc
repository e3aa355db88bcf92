// SPDX-License-Identifier: Apache-2.0
#include "sim/toy_machine.h"

#include <gtest/gtest.h>

#include "sim/random.h"

namespace lockstep::sim {
namespace {

using record::EntryKind;

ToyEntry request(Icount at, uint64_t number, uint64_t sector, Operation operation) {
    return {EntryKind::kNetworkReceive, at, {number, sector, static_cast<uint64_t>(operation)}};
}

TEST(ToyMachine, AnswersAPutWhenItsWriteHasEnded) {
    ToyMachine machine;
    machine.run(Icount(10));
    machine.deliver(request(Icount(10), 77, 3, Operation::kPut));
    std::vector<ToyOutput> outputs = machine.take_outputs();
    ASSERT_EQ(outputs.size(), 1u);
    EXPECT_EQ(outputs[0].kind, EffectKind::kDiskWrite);
    EXPECT_EQ(outputs[0].sector, 3u);
    EXPECT_EQ(machine.in_flight(), outputs);
    EXPECT_FALSE(machine.applied().contains(77));
    machine.deliver({EntryKind::kDiskCompletion, Icount(10), {outputs[0].request, 0, 0}});
    outputs = machine.take_outputs();
    ASSERT_EQ(outputs.size(), 1u);
    EXPECT_EQ(outputs[0].kind, EffectKind::kPacket);
    EXPECT_EQ(outputs[0].request, 77u);
    EXPECT_TRUE(machine.applied().contains(77));
    EXPECT_TRUE(machine.in_flight().empty());
}

TEST(ToyMachine, OperationsOnASectorWaitForEachOther) {
    ToyMachine machine;
    machine.deliver(request(Icount(0), 1, 3, Operation::kPut));
    machine.deliver(request(Icount(0), 2, 3, Operation::kGet));
    machine.deliver(request(Icount(0), 3, 4, Operation::kGet));
    std::vector<ToyOutput> outputs = machine.take_outputs();
    ASSERT_EQ(outputs.size(), 2u);
    EXPECT_EQ(outputs[0].sector, 3u);
    EXPECT_EQ(outputs[1].sector, 4u);
    machine.deliver({EntryKind::kDiskCompletion, Icount(0), {outputs[0].request, 0, 0}});
    EXPECT_EQ(machine.take_outputs().size(), 2u) << "the answer, and the read that waited";
}

TEST(ToyMachine, NoticesAReadOfWhatItDidNotWrite) {
    for (bool right : {true, false}) {
        ToyMachine machine;
        machine.deliver(request(Icount(0), 1, 3, Operation::kPut));
        ToyOutput write = machine.take_outputs()[0];
        machine.deliver({EntryKind::kDiskCompletion, Icount(0), {write.request, 0, 0}});
        machine.deliver(request(Icount(0), 2, 3, Operation::kGet));
        ToyOutput read = machine.take_outputs()[1];
        machine.deliver({EntryKind::kDiskCompletion, Icount(0), {read.request, right ? write.value : 0, 0}});
        EXPECT_EQ(machine.saw_wrong_data(), !right);
    }
}

TEST(ToyMachine, DoesNotDependOnHowItsRunIsCut) {
    ToyMachine whole, cut;
    whole.run(Icount(1'000'000));
    for (uint64_t at = 0; at <= 1'000'000; at += 777) cut.run(Icount(at));
    cut.run(Icount(1'000'000));
    EXPECT_EQ(whole.hash(), cut.hash());
    EXPECT_EQ(whole.take_outputs(), cut.take_outputs());
}

TEST(ToyMachine, IsTheSameAfterSaveAndLoad) {
    Random random(5);
    ToyMachine machine;
    for (uint64_t i = 1; i < 40; ++i) {
        machine.run(Icount(i * 5000));
        machine.deliver(request(Icount(i * 5000), i, random.between(0, kSectors - 1), Operation::kPut));
    }
    machine.take_outputs();
    Bytes state;
    ByteWriter out(state);
    machine.save_state(out);
    ToyMachine other;
    ByteReader in(state);
    other.load_state(in);
    for (uint64_t page = 0; page < kPages; ++page) other.load_page(page, machine.pages()[page]);
    EXPECT_EQ(machine.hash(), other.hash());
    EXPECT_EQ(machine.in_flight(), other.in_flight());
    Bytes again;
    ByteWriter second(again);
    other.save_state(second);
    EXPECT_EQ(state, again);
}

TEST(ToyEntry, IsReadAsItWasWritten) {
    ToyEntry entry = request(Icount(123456), 7, 3, Operation::kGet);
    Bytes bytes;
    ByteWriter out(bytes);
    entry.encode(out);
    ByteReader in(bytes);
    EXPECT_EQ(ToyEntry::decode(in), entry);
    EXPECT_TRUE(in.ok());
}

}  // namespace
}  // namespace lockstep::sim
