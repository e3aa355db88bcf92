// SPDX-License-Identifier: Apache-2.0
// System calls and moves of system registers: whatever translates them, they do and count what the interpreter does.
#include "kit/guest_test.h"
#include "trace.h"

LOCKSTEP_GUEST(transfers);
LOCKSTEP_GUEST_LABEL(transfers_user);
LOCKSTEP_GUEST(bases);
LOCKSTEP_GUEST_LABEL(bases_low);
LOCKSTEP_GUEST_LABEL(bases_high);
LOCKSTEP_GUEST_LABEL(bases_off);

namespace lockstep::guests {
namespace {

constexpr uint64_t kUserCodeAddress = 0x400000, kUserStack = 0x602000;

class TransfersTest : public GuestTest {
  protected:
    static void prepare(GuestMachine& into, uint64_t mask, uint64_t changing, uint64_t rounds) {
        const GuestCode code = LOCKSTEP_GUEST_CODE(transfers);
        into.load(code);
        into.long_mode->map(kUserCodeAddress, kCodeArea, kPresent | kUser);
        into.long_mode->map(kUserStack - kPageSize, kDataArea + kPageSize,
                            kPresent | kWritable | kUser | kNoExecute);
        into.set_reg(cpu::kRsi, code.offset(*transfers_user));
        into.set_reg(cpu::kRbx, mask);
        into.set_reg(cpu::kRdi, changing);
        into.set_reg(cpu::kR13, rounds);
        for (uint64_t at = 100; at < rounds * 100; at += 61)
            into.platform.schedule_interrupt(Icount(at), 0x40);
    }
    static constexpr uint64_t kLinux = 0x257fd5, kNothing = 0, kSome = 0x301;  ///< SFMASK
    static constexpr uint64_t kArithmetic = cpu::kArithmeticFlags,
                              kAll = kArithmetic | cpu::kFlagDf | cpu::kFlagAc | cpu::kFlagId;
    static constexpr uint64_t kRounds = 8;

    /// What the interpreter does, in single steps.
    struct Reference {
        uint64_t mask, changing;
        std::vector<TracePoint> states;
        std::vector<Event> events;
    };
    static const std::vector<Reference>& references() {
        static const std::vector<Reference> made = [] {
            std::vector<Reference> references{
                {kLinux, kAll, {}, {}}, {kNothing, kArithmetic, {}, {}}, {kSome, kAll, {}, {}}};
            for (Reference& reference : references) {
                GuestMachine single({"interpreted", {.block_limit = 1, .inline_system = false}});
                prepare(single, reference.mask, reference.changing, kRounds);
                reference.states = trace(single);
                reference.events = single.events();
            }
            return references;
        }();
        return made;
    }
};

TEST_P(TransfersTest, AnyIcountIsReachedAsByTheInterpreter) {
    for (const Reference& reference : references()) {
        for (size_t step : {11u, 150u}) {
            prepare(machine, reference.mask, reference.changing, kRounds);
            for (size_t stop = step; stop < reference.states.size(); stop += step) {
                ASSERT_EQ(machine.run(Icount(stop)), translate::VcpuExit::kReached) << "stop at " << stop;
                ASSERT_EQ(compare(reference.states[stop], trace_point(machine)), "")
                    << "stop at " << stop << ", by " << step;
            }
            ASSERT_EQ(machine.run_to_end(), translate::VcpuExit::kHalted);
            EXPECT_EQ(machine.cpu->state.icount.value(), reference.states.size() - 1);
            EXPECT_EQ(machine.events(), reference.events);
        }
    }
}

// POPFQ is left, and in three rounds of four a selector that names a descriptor.
TEST_P(TransfersTest, TheyAreTranslated) {
    constexpr uint64_t kMany = 1000, kOfARound = 20;
    prepare(machine, kLinux, kArithmetic, kMany);
    machine.platform.clear();
    ASSERT_EQ(machine.run_to_end(), translate::VcpuExit::kHalted);
    uint64_t interpreted = machine.vcpu->report().counters.interpreted;
    if (!GetParam().options.inline_system) {
        EXPECT_GT(interpreted, kMany * kOfARound);
    } else if (GetParam().options.window_after > 0) {
        EXPECT_LT(interpreted, kMany * 4);
    }
}

TEST_P(TransfersTest, BasesAreCanonical) {
    load(LOCKSTEP_GUEST_CODE(bases));
    ASSERT_EQ(machine.run_to_end(), translate::VcpuExit::kHalted);
    std::vector<Event> events = machine.events();
    ASSERT_EQ(events.size(), 3u);
    expect_event(events[0], cpu::kGp, 0, bases_low, "beyond the lower half");
    expect_event(events[1], cpu::kGp, 0, bases_high, "before the upper half");
    expect_event(events[2], cpu::kUd, 0, bases_off, "CR4.FSGSBASE is clear");
    EXPECT_EQ(machine.reg(cpu::kRsi), 0x7fffffffffffu);
    EXPECT_EQ(machine.reg(cpu::kRdi), 0xffff800000000000u);
    EXPECT_EQ(machine.reg(cpu::kR8), 0xffffffffu) << "the lower half of a register";
}

LOCKSTEP_IN_EVERY_CONFIGURATION(TransfersTest);

}  // namespace
}  // namespace lockstep::guests
