// SPDX-License-Identifier: Apache-2.0
// Delivery of exceptions and interrupts, and handlers of long mode (Intel SDM vol. 3, 6.13, 6.14 and 6.15).
#include "cpu/exceptions.h"

#include <cstring>

#include "cpu/segments.h"
#include "x86/control.h"
#include "x86/paging.h"

namespace lockstep::cpu {

using namespace x86;

namespace {

/// Exceptions whose saved flags have RF set: the faults. The others are traps and aborts.
bool is_fault(uint8_t vector) { return vector != kDb && vector != kBp && vector != kOf && vector != kDf; }

bool is_contributory(uint8_t vector) { return vector == kDe || (vector >= kTs && vector <= kGp); }

/// Whether `second`, raised while `first` was delivered, makes a double fault (Intel SDM vol. 3, table 6-5).
bool makes_double_fault(uint8_t first, uint8_t second) {
    if (first == kPf) return second == kPf || is_contributory(second);
    return is_contributory(first) && is_contributory(second);
}

bool read_gate(Cpu& cpu, const Event& event, uint32_t external, Gate& gate, Exception& exception) {
    uint32_t error = event.vector * 8u | kErrorIdt | external;
    const CpuState& state = cpu.state;
    if (event.vector * 16u + 15 > state.idtr.limit) return general_protection(exception, error);
    if (!read_object(cpu, Privilege::kSupervisor, state.idtr.base + event.vector * 16u, gate, exception))
        return false;
    if (gate.type() != kTypeInterruptGate && gate.type() != kTypeTrapGate)
        return general_protection(exception, error);
    if (event.source == EventSource::kSoftware && gate.dpl() < state.cpl())
        return general_protection(exception, error);
    if (!gate.present()) return raise(exception, kNp, error);
    return true;
}

/// The stack pointer of the handler: from the TSS for a gate with IST or a change of privilege.
bool find_stack(Cpu& cpu, const Gate& gate, unsigned cpl, uint32_t external, uint64_t& rsp,
                Exception& exception) {
    const CpuState& state = cpu.state;
    rsp = state.gpr[kRsp];
    if (gate.ist() != 0 || cpl != state.cpl()) {
        unsigned offset = gate.ist() != 0 ? kTssIst1 + (gate.ist() - 1) * 8 : kTssRsp0 + cpl * 8;
        if (offset + 7 > state.tr.limit)
            return raise(exception, kTs, (state.tr.selector & 0xfffc) | external);
        if (!read_object(cpu, Privilege::kSupervisor, state.tr.base + offset, rsp, exception)) return false;
        if (!is_canonical(rsp)) return raise(exception, kSs_, external);
    }
    rsp &= ~uint64_t{15};
    return true;
}

/// The pushes go downwards: a fault is that of the highest one that cannot be made.
bool check_pushes(Cpu& cpu, Privilege privilege, uint64_t rsp, unsigned size, Exception& exception) {
    for (unsigned offset = size; offset > 0; offset -= 8)
        if (!check_writable_as(cpu, privilege, rsp + offset - 8, 8, exception)) return false;
    return true;
}

void copy_frame(uint8_t* to, const uint64_t* from, unsigned size) {
    std::memcpy(to, from, 40);
    if (size > 40) std::memcpy(to + 40, from + 5, 8);
}

bool push_frame(Cpu& cpu, const Event& event, const CodeTarget& target, uint32_t external, uint64_t& rsp,
                Exception& exception) {
    const CpuState& state = cpu.state;
    uint64_t frame[] = {event.error_code,  event.return_rip, state.segments[kCs].selector,
                        event.saved_flags, state.gpr[kRsp],  state.segments[kSs].selector};
    const uint64_t* first = event.has_error_code ? frame : frame + 1;
    unsigned size = event.has_error_code ? 48 : 40;
    rsp -= size;
    Privilege privilege = target.cpl == 3 ? Privilege::kUser : Privilege::kSupervisor;
    if (uint8_t* host = host_range<Access::kWrite>(cpu, privilege, rsp, size)) {
        copy_frame(host, first, size);
        return true;
    }
    if (check_pushes(cpu, privilege, rsp, size, exception) &&
        write_as(cpu, privilege, rsp, first, size, exception))
        return true;
    if (exception.vector == kGp) raise(exception, kSs_, external);
    return false;
}

bool enter_long_handler(Cpu& cpu, const Event& event, Exception& exception) {
    CpuState& state = cpu.state;
    uint32_t external = event.source == EventSource::kSoftware ? 0 : kErrorExternal;
    Gate gate;
    CodeTarget target;
    uint64_t rsp = 0;
    if (!read_gate(cpu, event, external, gate, exception) ||
        !check_handler_target(cpu, gate.selector(), external, target, exception) ||
        !find_stack(cpu, gate, target.cpl, external, rsp, exception))
        return false;
    if (!is_canonical(gate.offset())) return general_protection(exception, external);
    if (!push_frame(cpu, event, target, external, rsp, exception)) return false;

    if (target.cpl != state.cpl())
        state.segments[kSs] = null_stack_segment(static_cast<uint16_t>(target.cpl), target.cpl);
    state.segments[kCs] = target.segment;
    state.gpr[kRsp] = rsp;
    state.rip = gate.offset();
    state.rflags &= ~(kFlagTf | kFlagNt | kFlagRf | kFlagVm);
    if (gate.type() == kTypeInterruptGate) state.rflags &= ~kFlagIf;
    return true;
}

}  // namespace

bool enter_handler(Cpu& cpu, const Event& event, Exception& exception) {
    CpuState& state = cpu.state;
    bool entered = state.long_mode() ? enter_long_handler(cpu, event, exception)
                                     : enter_narrow_handler(cpu, event, exception);
    if (!entered) return false;
    state.interrupt_shadow = 0;
    state.halted = 0;
    ++cpu.handlers_entered;
    return true;
}

bool deliver_exception(Cpu& cpu, const Exception& exception) {
    CpuState& state = cpu.state;
    Exception current = exception;
    while (true) {
        if (current.vector == kPf) state.cr2 = current.cr2;
        if (current.vector == kDb) state.dr[7] &= ~kDr7Gd;
        Event event{current.vector, EventSource::kException, current.has_error_code, current.error_code,
                    state.rip,      state.rflags & ~kFlagRf};
        if (is_fault(current.vector)) event.saved_flags |= kFlagRf;
        Exception second;
        if (enter_handler(cpu, event, second)) return true;
        if (current.vector == kDf) return false;
        if (makes_double_fault(current.vector, second.vector)) {
            if (second.vector == kPf)
                state.cr2 = second.cr2;  // a guest sees by it that its stack has run over
            current = Exception{kDf, true, 0, 0};
        } else {
            current = second;
        }
    }
}

bool deliver_interrupt(Cpu& cpu, uint8_t vector) {
    cpu.state.halted = 0;
    Event event{vector, EventSource::kExternal, false, 0, cpu.state.rip, cpu.state.rflags};
    Exception exception;
    return enter_handler(cpu, event, exception) || deliver_exception(cpu, exception);
}

Exception debug_exception(CpuState& state, uint64_t causes) {
    state.dr[6] = (state.dr[6] & ~kDr6Breakpoints) | causes;
    return Exception{kDb, false, 0, 0};
}

}  // namespace lockstep::cpu
