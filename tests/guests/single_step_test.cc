// SPDX-License-Identifier: Apache-2.0
// The trap flag over every kind of branch: a trap behind each instruction that doesn't enter a handler itself.
#include <bit>

#include "kit/guest_test.h"
#include "trace.h"

LOCKSTEP_GUEST(kernel_steps);
LOCKSTEP_GUEST_LABEL(steps_of_kernel);
LOCKSTEP_GUEST_LABEL(steps_of_kernel_end);
LOCKSTEP_GUEST_LABEL(user_steps_start);
LOCKSTEP_GUEST_LABEL(user_steps);
LOCKSTEP_GUEST_LABEL(user_steps_end);
LOCKSTEP_GUEST_LABEL(step_trap);
LOCKSTEP_GUEST_LABEL(step_other);
LOCKSTEP_GUEST_LABEL(step_system_call);

namespace lockstep::guests {
namespace {

constexpr uint64_t kUserCode = 0x400000, kUserData = 0x601000;
constexpr uint64_t kRounds = 3;

enum class Mode : uint8_t { kKernel, kUser };

class SingleStepTest : public GuestTest {
  protected:
    /// What the guest's trap handler adds up.
    struct Traps {
        uint64_t count = 0, sum = 0;
        void add(uint64_t rip) {
            ++count;
            sum = std::rotl(sum + rip, 1);
        }
        bool operator==(const Traps&) const = default;
    };

    void prepare(Mode mode, uint64_t trap_flag) {
        load(LOCKSTEP_GUEST_CODE(kernel_steps));
        LongMode& tables = *machine.long_mode;
        tables.map(kUserCode, kCodeArea, kPresent | kUser);
        tables.map(kUserData, kDataArea, kPresent | kWritable | kUser);  // and its stack
        tables.set_gate(cpu::kDb, at(step_trap), 0);
        for (uint8_t vector : {cpu::kBp, uint8_t{0x90}}) tables.set_gate(vector, at(step_other), 3);
        cpu::CpuState& state = machine.cpu->state;
        state.star = 0x0023'0010'0000'0000;
        state.lstar = at(step_system_call);
        state.sfmask = 0x700;
        bool user = mode == Mode::kUser;
        if (user) state.rip = at(user_steps_start);
        machine.set_reg(cpu::kRbx, user ? kUserData : kPhysicalMap + kDataArea);
        machine.set_reg(cpu::kRbp, kUserCode + at(user_steps) - machine.address(0));
        machine.set_reg(cpu::kRdx, trap_flag);
        machine.set_reg(cpu::kR12, kRounds);
        base_ = user ? kUserCode : machine.address(0);
        start_ = base_ + (user ? at(user_steps) : at(steps_of_kernel)) - machine.address(0);
        end_ = base_ + (user ? at(user_steps_end) : at(steps_of_kernel_end)) - machine.address(0);
    }
    bool is_stepped(uint64_t rip) const { return rip >= start_ && rip < end_; }
    uint16_t bytes_at(uint64_t rip) const {
        return static_cast<uint16_t>(machine.read(kCodeArea + rip - base_));
    }

    /// By the way that the guest takes without traps.
    Traps expected(Mode mode) {
        constexpr uint16_t kRepMovsb = 0xa4f3, kMovSs = 0xd08e;
        constexpr uint64_t kElements = 3;
        prepare(mode, 0);
        Traps traps;
        std::vector<TracePoint> way = trace(machine);
        for (size_t i = 0; i + 1 < way.size(); ++i) {
            uint64_t rip = way[i].state.rip, next = way[i + 1].state.rip;
            if (!is_stepped(rip)) continue;
            if (bytes_at(rip) == kRepMovsb)
                for (uint64_t element = 1; element < kElements; ++element) traps.add(rip);
            bool in_handler = !is_stepped(next) && next != end_;
            if (!in_handler && bytes_at(rip) != kMovSs) traps.add(next);
        }
        return traps;
    }
    void expect_traps(Mode mode) {
        Traps wanted = expected(mode);
        EXPECT_EQ(machine.reg(cpu::kR8), 0u);
        prepare(mode, cpu::kFlagTf);
        ASSERT_EQ(machine.run_to_end(), translate::VcpuExit::kHalted);
        EXPECT_EQ(machine.reg(cpu::kR8), wanted.count);
        EXPECT_EQ(machine.reg(cpu::kR9), wanted.sum);
        EXPECT_EQ(machine.reg(cpu::kR10), 2 * kRounds) << "INT3 and INT n";
        EXPECT_EQ(machine.reg(cpu::kR12), 0u);
    }

  private:
    uint64_t base_ = 0, start_ = 0, end_ = 0;
};

TEST_P(SingleStepTest, KernelCode) { expect_traps(Mode::kKernel); }

TEST_P(SingleStepTest, UserCode) { expect_traps(Mode::kUser); }

LOCKSTEP_IN_EVERY_CONFIGURATION(SingleStepTest);

}  // namespace
}  // namespace lockstep::guests
