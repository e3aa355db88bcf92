// SPDX-License-Identifier: Apache-2.0
// Branches to addresses that aren't canonical raise #GP themselves, with nothing changed.
#include <vector>

#include "kit/guest_test.h"

namespace lockstep::guests {
namespace {

constexpr uint64_t kUserHalfEnd = uint64_t{1} << 47;
constexpr uint64_t kLastPage = kUserHalfEnd - kPageSize;
constexpr uint64_t kStackPage = 0x601000, kStackOffset = 0xfc0;
constexpr uint64_t kStackMark = 0x1122334455667788;
constexpr uint64_t kCounter = 0x100000007;

struct Branch {
    const char* name;
    std::vector<uint8_t> code;
    unsigned before;  ///< instructions before the one that faults
    uint64_t offset;  ///< of that one
    unsigned pushed = 0;
};

/// In the last page of the user half, all with the zero flag set.
const Branch kBranches[] = {
    {"jmp", {0xe9, 0, 0x20, 0, 0}, 0, 0},
    {"call", {0xe8, 0, 0x20, 0, 0}, 0, 0},
    {"call behind pushes", {0x50, 0x53, 0xe8, 0, 0x20, 0, 0}, 2, 2, 16},
    {"jz", {0x0f, 0x84, 0, 0x20, 0, 0}, 0, 0},
    {"jz in mid-block", {0x48, 0x39, 0xc0, 0x0f, 0x84, 0, 0x20, 0, 0, 0x90, 0x90}, 1, 3},
    {"jz behind jnz", {0x0f, 0x85, 0, 0x20, 0, 0, 0x0f, 0x84, 0, 0x20, 0, 0}, 1, 6},
};
/// The last bytes of it.
const Branch kShortBranches[] = {
    {"loop", {0xe2, 0x7f, 0x90}, 0, 0},
    {"loop by ecx", {0x67, 0xe2, 0x7f, 0x90}, 0, 0},
    {"jmp short", {0xeb, 0x7f}, 0, 0},
    {"no branch: the fetch behind the end faults", {0x90}, 1, 1},
};

class BranchesTest : public GuestTest {
  protected:
    void load_nothing() {
        static const uint8_t kHalt = 0xf4;
        load({&kHalt, &kHalt + 1});
    }
    void expect_refused(const Branch& branch, uint64_t start) {
        load_nothing();
        machine.long_mode->map(kLastPage, kCodeArea, kPresent | kUser);
        machine.long_mode->map(kStackPage, kDataArea, kPresent | kWritable | kUser | kNoExecute);
        machine.memory->write(GuestPhys(kCodeArea + start - kLastPage), branch.code);
        for (uint64_t at = 0; at < kPageSize; at += 8) machine.write(kDataArea + at, kStackMark);
        cpu::CpuState& state = machine.cpu->state;
        machine.long_mode->enter_user(state, start, kStackPage + kStackOffset);
        state.gpr[cpu::kRcx] = kCounter;
        state.rflags = 0x202 | cpu::kFlagZf;
        machine.run(Icount(branch.before + 1));
        EXPECT_EQ(state.cpl(), 0u) << branch.name;
        EXPECT_EQ(state.gpr[cpu::kRcx], kCounter) << branch.name;
        machine.run(Icount(100));
        std::vector<Event> events = machine.events();
        ASSERT_FALSE(events.empty()) << branch.name;
        EXPECT_EQ(events[0].vector, cpu::kGp) << branch.name;
        EXPECT_EQ(events[0].error_code, 0u) << branch.name;
        EXPECT_EQ(events[0].rip, start + branch.offset) << branch.name;
        EXPECT_EQ(events[0].rsp, kStackPage + kStackOffset - branch.pushed) << branch.name;
        EXPECT_EQ(machine.read(kDataArea + kStackOffset - branch.pushed - 8), kStackMark) << branch.name;
    }
};

TEST_P(BranchesTest, DirectOnesBeyondTheUserHalfDoNothing) {
    for (const Branch& branch : kBranches) expect_refused(branch, kLastPage + 0xf00);
    for (const Branch& branch : kShortBranches) expect_refused(branch, kUserHalfEnd - branch.code.size());
}

// The block of a branch that is refused isn't copied to where it leads somewhere, nor the other way round.
TEST_P(BranchesTest, TheSameCodeElsewhereBranches) {
    constexpr uint64_t kElsewhere = 0x7f1234567000;
    for (bool refused_first : {true, false}) {
        load_nothing();
        const uint8_t code[] = {0x90, 0xe9, 0, 0x20, 0, 0};  // nop; jmp 0x2000 further
        machine.memory->write(GuestPhys(kCodeArea), code);
        for (uint64_t page : {kLastPage, kElsewhere})
            machine.long_mode->map(page, kCodeArea, kPresent | kUser);
        for (bool refused : {refused_first, !refused_first}) {
            cpu::CpuState& state = machine.cpu->state;
            Icount now = state.icount;
            machine.long_mode->enter_user(state, refused ? kLastPage : kElsewhere, kStackPage);
            state.icount = now;
            machine.run(now + 2);
            EXPECT_EQ(state.cpl(), refused ? 0u : 3u);
            EXPECT_TRUE(refused || state.rip == kElsewhere + 0x2006) << state.rip;
        }
    }
}

LOCKSTEP_IN_EVERY_CONFIGURATION(BranchesTest);

}  // namespace
}  // namespace lockstep::guests
