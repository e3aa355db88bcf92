// SPDX-License-Identifier: Apache-2.0
// Breakpoints of the debug registers, at no cost while none is set.
//
//     data   a page with one has no entry in the maps and isn't in the window, so that its accesses take the slow
//            ways, which compare (cpu/breakpoints.h)
//     code   a page with one is run an instruction at a time, by blocks that nothing remembers; no way leads to
//            others there
//
// What has been built before stays, for when the breakpoint has gone.
#include <utility>

#include "translate/vcpu_impl.h"
#include "x86/paging.h"

namespace lockstep::translate {

void Vcpu::Impl::guard_breakpoints() {
    breakpoints_seen = cpu.breakpoints.version();
    for (std::span all : {cpu.breakpoints.all(), cpu.breakpoints.stops()})
        for (const cpu::Breakpoints::Breakpoint& breakpoint : all) {
            if (!x86::is_canonical(breakpoint.start)) continue;
            for (unsigned space = 0; space < cpu::kSpaces; ++space)
                page_dropped(space, GuestVirt(breakpoint.start & ~kPageMask), cpu::PageUse::kCode);
        }
    arrival = {};
}

// Before the fetch, which is a part of the instruction.
bool Vcpu::Impl::held_by_stop() {
    return cpu.breakpoints.any_stops() && cpu.breakpoints.holds(cpu.state.code_address(), cpu.state.icount);
}

Vcpu::Impl::Next Vcpu::Impl::leave_for_stop() {
    leave_reason = VcpuExit::kStop;
    return Next::kLeave;
}

// A breakpoint is met before its instruction, once: the handler returns with RF, which lasts for one instruction
// (Intel SDM vol. 3, 17.3.1.1).
Vcpu::Impl::Next Vcpu::Impl::guarded_step() {
    cpu::CpuState& state = cpu.state;
    arrival = {};
    limit = state.icount + 1;
    cpu::Exception exception{.vector = cpu::kUd};  // 32-bit programs are not supported
    uint64_t resumes = state.rflags & cpu::kFlagRf;
    bool held_off = resumes || state.interrupt_shadow == cpu::kShadowOfMovSs;
    uint64_t met = held_off ? 0 : cpu.breakpoints.met_by_fetch(state.rip);
    if (met) return deliver_debug(met);
    Block* block = !state.code64() ? nullptr : transient_block(1, {}, exception, Head::kNoStop);
    if (!block) return deliver(exception);
    state.rflags &= ~cpu::kFlagRf;
    if (block->interpret_only) return without_block(block->first_exit);
    state.interrupt_shadow = 0;
    if (goes_alone()) return lone_step();
    enter(*block);
    return after_exit();
}

}  // namespace lockstep::translate
