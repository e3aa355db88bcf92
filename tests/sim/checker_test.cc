// SPDX-License-Identifier: Apache-2.0
// The checkers see each kind of mistake when it is shown to them, and nothing else.
#include "sim/checker.h"

#include <gtest/gtest.h>

namespace lockstep::sim {
namespace {

using record::EntryKind;

ToyOutput packet(uint64_t number, uint64_t value = 1) { return {number, EffectKind::kPacket, 0, 0, value}; }

Effect effect(uint64_t process, uint64_t term, const ToyOutput& output) {
    return {process, Term(term), true, LogPos(0), LogPos(0), output};
}

TEST(Checker, IsContentWithAnOrdinaryRun) {
    Checker checker;
    checker.owner(1, Term(1), false);
    checker.effect(effect(1, 1, packet(0)));
    checker.owner(2, Term(2), false);
    checker.effect(effect(2, 2, packet(1)));
    checker.disk_written(2, Term(2));
    EXPECT_EQ(checker.failure(), "");
}

TEST(Checker, NoticesAnOldOwnersPacketAndWrite) {
    const ToyOutput write{1, EffectKind::kDiskWrite, 0, 0, 1};
    Checker packets, writes;
    packets.owner(2, Term(2), false);
    packets.effect(effect(1, 1, packet(0)));
    EXPECT_EQ(packets.failure().substr(0, 9), "one owner");
    writes.owner(2, Term(2), false);
    writes.disk_written(1, Term(1));
    EXPECT_EQ(writes.failure(), "") << "it was under way";
    writes.effect(effect(2, 2, write));
    writes.disk_written(1, Term(1));
    EXPECT_EQ(writes.failure().substr(0, 9), "one owner");
}

TEST(Checker, NoticesTwoOwnersOfATermAndTwoAtOnce) {
    Checker term, together;
    term.owner(1, Term(2), false);
    term.owner(2, Term(2), false);
    EXPECT_EQ(term.failure().substr(0, 9), "one owner");
    together.owner(1, Term(2), true);
    EXPECT_EQ(together.failure().substr(0, 15), "not two at once");
}

TEST(Checker, NoticesAnOutputBeforeItsAcknowledgement) {
    for (uint64_t holds : {8, 9}) {
        Checker checker;
        checker.effect({1, Term(1), false, LogPos(8), LogPos(holds), packet(0)});
        EXPECT_EQ(checker.failed(), holds == 8) << "entry 8 is held by who holds 9 entries";
    }
}

TEST(Checker, NoticesTwoHistories) {
    Checker checker;
    checker.effect(effect(1, 1, packet(0, 1)));
    checker.effect(effect(1, 1, packet(0, 1)));
    EXPECT_FALSE(checker.failed()) << "a packet seen twice is one packet";
    checker.effect(effect(1, 1, packet(0, 2)));
    EXPECT_EQ(checker.failure().substr(0, 11), "one history");
}

TEST(Checker, ComparesWhatWasSeenWithTheSurvivorsHistory) {
    std::vector<ToyEntry> log = {{EntryKind::kNetworkReceive, Icount(5), {1, 3, 0}}};
    ToyMachine machine;
    machine.run(Icount(5));
    machine.deliver(log[0]);
    ToyOutput write = machine.take_outputs()[0];
    Checker right, wrong, unknown;
    right.effect(effect(1, 1, write));
    right.finish_history(log);
    EXPECT_EQ(right.failure(), "");
    ++write.value;
    wrong.effect(effect(1, 1, write));
    wrong.finish_history(log);
    EXPECT_TRUE(wrong.failed());
    unknown.effect(effect(1, 1, packet(99)));
    unknown.finish_history(log);
    EXPECT_TRUE(unknown.failed());
}

/// A start that was stopped right before its guest ran, for so long that another has taken its term.
TEST(Checker, ALifeThatWasOverBeforeItBeganIsNone) {
    Checker checker;
    EXPECT_TRUE(checker.begin_life(Term(3), replica::Caution::kWatch));
    checker.owner(7, Term(3), false);
    checker.effect(effect(7, 3, packet(0, 1)));
    EXPECT_FALSE(checker.begin_life(Term(2), replica::Caution::kForce));
    EXPECT_FALSE(checker.overruled(Term(1)));
    checker.effect(effect(7, 3, packet(0, 2)));
    EXPECT_EQ(checker.failure().substr(0, 11), "one history") << "what was seen is forgotten";
    Checker late;
    late.owner(7, Term(3), false);
    EXPECT_FALSE(late.begin_life(Term(2), replica::Caution::kWatch));
    EXPECT_TRUE(late.begin_life(Term(4), replica::Caution::kWatch));
}

TEST(Checker, NoticesWhatIsLost) {
    ToyMachine machine;
    machine.deliver({EntryKind::kNetworkReceive, Icount(0), {1, 3, 0}});
    ToyOutput write = machine.take_outputs()[0];
    machine.deliver({EntryKind::kDiskCompletion, Icount(0), {write.request, 0, 0}});
    std::array<uint64_t, kSectors> disk{};
    Checker stale;
    stale.finish_state(machine, disk);
    EXPECT_EQ(stale.failure().substr(0, 12), "nothing lost");
    disk[3] = write.value;
    Checker good, forgotten;
    good.answered(1);
    good.finish_state(machine, disk);
    EXPECT_EQ(good.failure(), "");
    forgotten.answered(2);
    forgotten.finish_state(machine, disk);
    EXPECT_EQ(forgotten.failure().substr(0, 12), "nothing lost");
}

}  // namespace
}  // namespace lockstep::sim
