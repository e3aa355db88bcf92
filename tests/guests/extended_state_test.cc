// SPDX-License-Identifier: Apache-2.0
// XSAVE and XRSTOR among translated code, whose x87 registers are the host's.
#include <bit>
#include <numbers>

#include "kit/guest_test.h"

LOCKSTEP_GUEST(extended_state);
LOCKSTEP_GUEST_LABEL(xsave_switched_off);
LOCKSTEP_GUEST_LABEL(xsaveopt_hidden);
LOCKSTEP_GUEST_LABEL(xrstor_unavailable);

namespace lockstep::guests {
namespace {

class ExtendedStateTest : public GuestTest {
  protected:
    /// A quadword that the guest left behind the area.
    uint64_t result(unsigned number) { return machine.read(kDataArea + 1024 + 8 * number); }
};

TEST_P(ExtendedStateTest, IsSavedAndRestored) {
    load(LOCKSTEP_GUEST_CODE(extended_state));
    EXPECT_EQ(machine.run_to_end(), translate::VcpuExit::kHalted);
    EXPECT_EQ(machine.reg(cpu::kRsi), 1u) << "XCR0 at first";
    EXPECT_EQ(machine.reg(cpu::kRdi), 3u);
    EXPECT_EQ(result(0), std::bit_cast<uint64_t>(1.0));
    EXPECT_EQ(result(1), std::bit_cast<uint64_t>(std::numbers::pi));
    EXPECT_EQ(result(2), ~uint64_t{0});
    EXPECT_EQ(result(3) & 0xffff, 0x37fu) << "the initial control word";
    EXPECT_EQ(result(4), 0u) << "initial XMM registers";
}

TEST_P(ExtendedStateTest, FaultsWhereItIsOffHiddenOrUnavailable) {
    load(LOCKSTEP_GUEST_CODE(extended_state));
    machine.run_to_end();
    std::vector<Event> events = machine.events();
    ASSERT_EQ(events.size(), 3u);
    expect_event(events[0], cpu::kUd, 0, xsave_switched_off, "#UD, no CR4.OSXSAVE");
    expect_event(events[1], cpu::kUd, 0, xsaveopt_hidden, "#UD, XSAVEOPT");
    expect_event(events[2], cpu::kNm, 0, xrstor_unavailable, "#NM, CR0.TS");
}

LOCKSTEP_IN_EVERY_CONFIGURATION(ExtendedStateTest);

}  // namespace
}  // namespace lockstep::guests
