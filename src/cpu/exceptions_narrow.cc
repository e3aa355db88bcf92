// SPDX-License-Identifier: Apache-2.0
// Handlers outside long mode: real mode's vectors (Intel SDM vol. 3, 21.1.4), and the gates of 16- and 32-bit protected
// mode (6.11 and 6.12). There are no task gates.
#include "cpu/exceptions.h"
#include "cpu/segments.h"

namespace lockstep::cpu {

using namespace x86;

namespace {

constexpr unsigned kTypeInterruptGate16 = 6, kTypeTrapGate16 = 7;

bool enter_real_handler(Cpu& cpu, const Event& event, Exception& exception) {
    CpuState& state = cpu.state;
    uint32_t at = event.vector * 4u;
    if (at + 3 > state.idtr.limit) return general_protection(exception, 0);
    struct {
        uint16_t offset, selector;
    } vector;
    if (!read_object(cpu, Privilege::kSupervisor, state.idtr.base + at, vector, exception)) return false;
    const uint64_t frame[] = {event.saved_flags, state.segments[kCs].selector, event.return_rip};
    uint64_t rsp = state.gpr[kRsp];
    for (uint64_t value : frame)
        if (!write_stack(cpu, rsp -= 2, &value, 2, exception)) return false;
    set_stack_pointer(state, rsp);
    state.rflags &= ~(kFlagIf | kFlagTf | kFlagRf | kFlagAc);
    enter_code(state, real_mode_segment(state.segments[kCs], vector.selector), vector.offset);
    return true;
}

/// An 8-byte gate.
struct NarrowGate {
    uint64_t bits = 0;

    unsigned type() const { return bits >> 40 & 31; }
    unsigned dpl() const { return bits >> 45 & 3; }
    bool present() const { return bits >> 47 & 1; }
    uint16_t selector() const { return static_cast<uint16_t>(bits >> 16); }
    bool is_wide() const { return type() == kTypeInterruptGate || type() == kTypeTrapGate; }
    bool is_valid() const { return is_wide() || type() == kTypeInterruptGate16 || type() == kTypeTrapGate16; }
    bool closes() const { return type() == kTypeInterruptGate || type() == kTypeInterruptGate16; }
    uint64_t offset() const { return (bits & 0xffff) | (is_wide() ? bits >> 32 & 0xffff0000 : 0); }
};

bool read_gate(Cpu& cpu, const Event& event, uint32_t external, NarrowGate& gate, Exception& exception) {
    const CpuState& state = cpu.state;
    uint32_t error = event.vector * 8u | kErrorIdt | external;
    if (event.vector * 8u + 7 > state.idtr.limit) return general_protection(exception, error);
    if (!read_object(cpu, Privilege::kSupervisor, state.idtr.base + event.vector * 8u, gate.bits, exception))
        return false;
    bool forbidden = event.source == EventSource::kSoftware && gate.dpl() < state.cpl();
    if (!gate.is_valid() || forbidden) return general_protection(exception, error);
    return gate.present() || raise(exception, kNp, error);
}

/// The stack of a handler with more privilege, from the TSS.
bool find_inner_stack(Cpu& cpu, const CodeTarget& target, uint32_t external, SegmentRegister& stack,
                      uint64_t& rsp, Exception& exception) {
    constexpr unsigned kTss32 = 8;  // a bit of the type
    const SegmentRegister& tr = cpu.state.tr;
    bool wide = tr.attributes & kTss32;
    unsigned size = wide ? 4 : 2, at = size + target.cpl * 2 * size;
    uint16_t selector = 0;
    rsp = 0;
    if (at + size + 1 > tr.limit) return raise(exception, kTs, (tr.selector & 0xfffc) | external);
    return read_as(cpu, Privilege::kSupervisor, tr.base + at, &rsp, size, exception) &&
           read_as(cpu, Privilege::kSupervisor, tr.base + at + size, &selector, 2, exception) &&
           check_return_stack(cpu, selector, target, stack, exception);
}

}  // namespace

bool enter_narrow_handler(Cpu& cpu, const Event& event, Exception& exception) {
    CpuState& state = cpu.state;
    if (!state.protected_mode()) return enter_real_handler(cpu, event, exception);
    uint32_t external = event.source == EventSource::kSoftware ? 0 : kErrorExternal;
    NarrowGate gate;
    CodeTarget target;
    if (!read_gate(cpu, event, external, gate, exception) ||
        !check_handler_target(cpu, gate.selector(), external, target, exception))
        return false;
    if (gate.offset() > target.segment.limit) return general_protection(exception, external);

    bool inward = target.cpl < state.cpl();
    SegmentRegister stack = state.segments[kSs];
    uint64_t rsp = state.gpr[kRsp];
    if (inward && !find_inner_stack(cpu, target, external, stack, rsp, exception)) return false;
    uint64_t mask = stack_mask(stack);
    uint64_t frame[] = {state.segments[kSs].selector, state.gpr[kRsp],  event.saved_flags,
                        state.segments[kCs].selector, event.return_rip, event.error_code};
    unsigned size = gate.is_wide() ? 4 : 2, first = inward ? 0 : 2, end = event.has_error_code ? 6 : 5;
    Privilege privilege = target.cpl == 3 ? Privilege::kUser : Privilege::kSupervisor;
    for (unsigned i = first; i < end; ++i) {
        rsp = (rsp - size) & mask;
        if (!permits(stack, rsp, size, Access::kWrite)) return raise(exception, kSs_, external);
        if (!write_as(cpu, privilege, static_cast<uint32_t>(stack.base + rsp), &frame[i], size, exception))
            return false;
    }
    state.segments[kSs] = stack;
    set_stack_pointer(state, rsp);
    state.rflags &= ~(kFlagTf | kFlagNt | kFlagRf | kFlagVm);
    if (gate.closes()) state.rflags &= ~kFlagIf;
    enter_code(state, target.segment, gate.offset());
    return true;
}

}  // namespace lockstep::cpu
