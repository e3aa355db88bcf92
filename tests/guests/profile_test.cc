// SPDX-License-Identifier: Apache-2.0
// What the engine tells profiles: every byte of host code in use belongs to one piece, and none gets lost.
#include <algorithm>

#include "kit/guest_test.h"

LOCKSTEP_GUEST(profiled);

namespace lockstep::guests {
namespace {

using translate::CodeKind;
using translate::CodePiece;

class ProfileTest : public GuestTest {
  protected:
    ProfileTest() {
        machine.vcpu->set_code_visitor([this](const CodePiece& piece) { seen_.push_back(piece); });
    }
    ~ProfileTest() override { machine.vcpu.reset(); }  // it still has the visitor

    /// What was shown since the last call.
    std::vector<CodePiece> take() { return std::exchange(seen_, {}); }
    translate::EngineReport run_guest() {
        load(LOCKSTEP_GUEST_CODE(profiled));
        take();
        EXPECT_EQ(machine.run_to_end(), translate::VcpuExit::kHalted);
        return machine.vcpu->report();
    }
    void expect_all_of(const translate::EngineReport& report, const std::vector<CodePiece>& pieces) {
        uint64_t hot = 0, cold = 0;
        for (const CodePiece& piece : pieces) {
            EXPECT_FALSE(piece.code.empty());
            EXPECT_TRUE(piece.kind == CodeKind::kBlock || piece.kind == CodeKind::kJumpChecks);
            (piece.cold || piece.kind == CodeKind::kJumpChecks ? cold : hot) += piece.code.size();
        }
        EXPECT_GT(hot, 0u);
        EXPECT_EQ(hot, report.hot.bytes);
        EXPECT_EQ(cold, report.cold.bytes);
        EXPECT_TRUE(std::ranges::any_of(pieces, [this](const CodePiece& piece) {
            return piece.kind == CodeKind::kBlock && !piece.user && piece.pc == machine.address(0);
        })) << "the guest's first block";
    }

  private:
    std::vector<CodePiece> seen_;
};

TEST_P(ProfileTest, FixedCodeIsShownAtOnce) {
    std::vector<CodePiece> pieces = take();
    ASSERT_FALSE(pieces.empty());
    EXPECT_EQ(pieces[0].kind, CodeKind::kTrampolines);
    for (const CodePiece& piece : pieces) EXPECT_NE(piece.kind, CodeKind::kBlock);
}

TEST_P(ProfileTest, BlocksAreShownWhenTheEngineGoes) {
    translate::EngineReport report = run_guest();
    EXPECT_TRUE(take().empty()) << "nothing has gone yet";
    machine.vcpu.reset();
    expect_all_of(report, take());
}

TEST_P(ProfileTest, BlocksAreShownBeforeTheyAreThrownAway) {
    translate::EngineReport report = run_guest();
    machine.vcpu->state_replaced();
    expect_all_of(report, take());
    EXPECT_EQ(machine.vcpu->report().hot.bytes, 0u);
    EXPECT_EQ(machine.vcpu->report().counters.code_clears, report.counters.code_clears + 1);
    machine.vcpu.reset();
    EXPECT_TRUE(take().empty()) << "each piece is shown once";
}

TEST_P(ProfileTest, TheReportCounts) {
    translate::EngineReport report = run_guest();
    EXPECT_GE(report.counters.blocks_translated, 3u);
    EXPECT_GE(report.counters.instructions_translated, 7u);
    EXPECT_GE(report.counters.interpreted, 1u) << "HLT";
    EXPECT_GT(report.counters.dispatches, 0u);
    EXPECT_LT(report.hot.bytes, report.hot.room);
    EXPECT_LE(report.cold.bytes, report.cold.room);
    EXPECT_LE(report.hot.room + report.cold.room, machine.configuration.options.code_cache_bytes);
}

TEST_P(ProfileTest, DeparturesAreCounted) {
    translate::EngineReport report = run_guest();
    uint64_t exits = 0, interpreted = 0, halts = 0;
    for (const translate::Departure& departure : machine.vcpu->departures()) {
        EXPECT_GT(departure.times, 0u) << departure.name;
        if (departure.group == "exit") exits += departure.times;
        if (departure.group == "interpreted") interpreted += departure.times;
        if (departure.name == "hlt") halts += departure.times;
    }
    EXPECT_GT(exits, 0u);
    EXPECT_EQ(halts, 1u);
    EXPECT_EQ(interpreted, report.counters.interpreted);
}

LOCKSTEP_IN_EVERY_CONFIGURATION(ProfileTest);

}  // namespace
}  // namespace lockstep::guests
