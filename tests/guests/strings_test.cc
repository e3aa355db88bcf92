// SPDX-License-Identifier: Apache-2.0
// String instructions and time stamps: whatever translates them, they do and count what the interpreter does.
#include <atomic>
#include <chrono>
#include <thread>

#include "kit/guest_test.h"
#include "trace.h"

LOCKSTEP_GUEST(strings);
LOCKSTEP_GUEST(stepped);
LOCKSTEP_GUEST(stamps);

namespace lockstep::guests {
namespace {

class StringsTest : public GuestTest {
  protected:
    static void prepare(GuestMachine& into, const GuestCode& code) {
        into.load(code);
        into.set_reg(cpu::kRbx, kPhysicalMap + kDataArea);
        into.cpu->state.tsc_aux = 5;
    }
    /// All of it interpreted, in single steps.
    static std::vector<TracePoint> interpreted(const GuestCode& code) {
        GuestMachine single(
            {"interpreted",
             {.block_limit = 1, .dead_flags = false, .inline_system = false, .inline_strings = false}});
        prepare(single, code);
        return trace(single);
    }
};

TEST_P(StringsTest, AnyIcountIsReachedAsByTheInterpreter) {
    const GuestCode code = LOCKSTEP_GUEST_CODE(strings);
    std::vector<TracePoint> states = interpreted(code);
    for (size_t stop = 1; stop < states.size(); ++stop) {
        prepare(machine, code);
        ASSERT_EQ(machine.run(Icount(stop)), translate::VcpuExit::kReached) << "stop at " << stop;
        ASSERT_EQ(compare(states[stop], trace_point(machine)), "") << "stop at " << stop;
        ASSERT_EQ(machine.run_to_end(), translate::VcpuExit::kHalted);
        ASSERT_EQ(machine.cpu->state.icount.value(), states.size() - 1) << "stopped at " << stop;
    }
}

TEST_P(StringsTest, TheyAreTranslated) {
    prepare(machine, LOCKSTEP_GUEST_CODE(strings));
    ASSERT_EQ(machine.run_to_end(), translate::VcpuExit::kHalted);
    uint64_t interpreted = machine.vcpu->report().counters.interpreted;
    constexpr uint64_t kAll = 28, kUnusual = 16;
    if (GetParam().options.inline_strings) {
        EXPECT_LT(interpreted, kUnusual);
    } else {
        EXPECT_GT(interpreted, kAll);
    }
}

TEST_P(StringsTest, UnderTheTrapFlag) {
    const GuestCode code = LOCKSTEP_GUEST_CODE(stepped);
    GuestMachine reference({"interpreted", {.inline_system = false, .inline_strings = false}});
    for (GuestMachine* each : {&reference, &machine}) {
        prepare(*each, code);
        ASSERT_EQ(each->run_to_end(), translate::VcpuExit::kHalted);
    }
    constexpr size_t kTraps = 1 + 3 + 1 + 2 + 1 + 1 + 1 + 1;
    EXPECT_EQ(machine.events().size(), kTraps);
    EXPECT_EQ(machine.events(), reference.events());
    EXPECT_EQ(compare(trace_point(reference), trace_point(machine)), "");
}

// A request that comes in the midst of a block changes the counter that time stamps are made of.
TEST_P(StringsTest, StopRequestsDontChangeTheTime) {
    const GuestCode code = LOCKSTEP_GUEST_CODE(stamps);
    constexpr uint64_t kRounds = 60'000;
    constexpr Icount kLongAfter{100'000'000};
    prepare(machine, code);
    machine.set_reg(cpu::kR9, kRounds);
    ASSERT_EQ(machine.run_to_end(kLongAfter), translate::VcpuExit::kHalted);
    uint64_t undisturbed = machine.reg(cpu::kR8);

    std::atomic<bool> done = false;
    std::thread disturber([&] {
        for (; !done; std::this_thread::sleep_for(std::chrono::microseconds(10)))
            machine.vcpu->request_stop();
    });
    constexpr unsigned kEnough = 20;
    for (unsigned stops = 0; stops < kEnough;) {
        prepare(machine, code);
        machine.set_reg(cpu::kR9, kRounds);
        translate::VcpuExit exit;
        while ((exit = machine.vcpu->run(kLongAfter)) == translate::VcpuExit::kRequested) ++stops;
        EXPECT_EQ(exit, translate::VcpuExit::kHalted);
        EXPECT_EQ(machine.reg(cpu::kR8), undisturbed);
    }
    done = true;
    disturber.join();
}

LOCKSTEP_IN_EVERY_CONFIGURATION(StringsTest);

}  // namespace
}  // namespace lockstep::guests
