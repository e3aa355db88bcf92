// SPDX-License-Identifier: Apache-2.0
// A run to any icount ends in the state that single steps have there, in every engine configuration, and goes
// on to the same end.
#include "kit/guest_test.h"
#include "trace.h"

LOCKSTEP_GUEST(medley);
LOCKSTEP_GUEST_LABEL(medley_routine);

namespace lockstep::guests {
namespace {

constexpr uint8_t kVector = 0x70;

class ExactStopTest : public GuestTest {
  protected:
    static void prepare(GuestMachine& into) {
        GuestCode code = LOCKSTEP_GUEST_CODE(medley);
        into.load(code);
        into.set_reg(cpu::kRbx, kPhysicalMap + kDataArea);
        into.set_reg(cpu::kR15, kKernelData);
        into.write(kDataArea + 0xf00, into.address(code.offset(*medley_routine)));
        into.cpu->state.rflags |= cpu::kFlagIf;
        into.platform.schedule_interrupt(kWhenHalted, kVector);
    }
    /// States of a machine whose blocks are single instructions, which keep all flags: the reference of the others.
    static const std::vector<TracePoint>& reference() {
        static const std::vector<TracePoint> points = [] {
            GuestMachine single(
                {"reference",
                 {.block_limit = 1, .chaining = false, .jump_cache = false, .dead_flags = false}});
            prepare(single);
            return trace(single);
        }();
        return points;
    }
};

TEST_P(ExactStopTest, SingleStepsAreTheSame) {
    prepare(machine);
    const std::vector<TracePoint>& expected = reference();
    std::vector<TracePoint> actual = trace(machine);
    ASSERT_EQ(actual.size(), expected.size());
    for (size_t i = 0; i < actual.size(); ++i)
        ASSERT_EQ(compare(expected[i], actual[i]), "") << "after " << i;
}

TEST_P(ExactStopTest, AnyIcountIsReachedAsBySingleSteps) {
    const std::vector<TracePoint>& expected = reference();
    size_t last = expected.size() - 1;
    for (size_t stop = 1; stop <= last; ++stop) {
        prepare(machine);
        ASSERT_EQ(machine.run(Icount(stop)), translate::VcpuExit::kReached) << "stop at " << stop;
        ASSERT_EQ(compare(expected[stop], trace_point(machine)), "") << "stop at " << stop;
        ASSERT_EQ(machine.run_to_end(), translate::VcpuExit::kHalted);
        ASSERT_EQ(machine.events().size(), 2u);
        ASSERT_EQ(machine.cpu->state.icount.value(), last) << "stopped at " << stop;
    }
}

// As a backup does that is careful for a while.
TEST_P(ExactStopTest, OptimisationsMayGoAndComeAtAnyStop) {
    const std::vector<TracePoint>& expected = reference();
    for (uint64_t stride : {2, 7, 64}) {
        prepare(machine);
        auto wanted = translate::Optimisations::kNone;
        for (uint64_t stop = stride; stop < expected.size(); stop += stride) {
            machine.vcpu->set_optimisations(wanted);
            ASSERT_EQ(machine.run(Icount(stop)), translate::VcpuExit::kReached);
            ASSERT_EQ(compare(expected[stop], trace_point(machine)), "")
                << "stop at " << stop << " with stride " << stride;
            wanted = wanted == translate::Optimisations::kNone ? translate::Optimisations::kAsWanted
                                                               : translate::Optimisations::kNone;
        }
        machine.vcpu->set_optimisations(translate::Optimisations::kAsWanted);
    }
}

TEST_P(ExactStopTest, ManyStopsInOneRun) {
    const std::vector<TracePoint>& expected = reference();
    for (uint64_t stride : {2, 3, 5, 7, 11, 64}) {
        prepare(machine);
        for (uint64_t stop = stride; stop < expected.size(); stop += stride) {
            ASSERT_EQ(machine.run(Icount(stop)), translate::VcpuExit::kReached);
            ASSERT_EQ(compare(expected[stop], trace_point(machine)), "")
                << "stop at " << stop << " with stride " << stride;
        }
    }
}

LOCKSTEP_IN_EVERY_CONFIGURATION(ExactStopTest);

}  // namespace
}  // namespace lockstep::guests
