// SPDX-License-Identifier: Apache-2.0
#include "cpu/segments.h"

#include <algorithm>

namespace lockstep::cpu {

using namespace x86;

namespace {

uint32_t selector_error(uint16_t selector) { return selector & 0xfffc; }
unsigned requested_privilege(uint16_t selector) { return selector & 3; }

bool read_from_table(Cpu& cpu, uint16_t selector, unsigned size, uint8_t vector, DescriptorSlot& out,
                     Exception& exception, uint32_t external) {
    const CpuState& state = cpu.state;
    bool local = selector & 4;
    uint64_t base = local ? state.ldtr.base : state.gdtr.base;
    uint64_t limit = local ? state.ldtr.limit : state.gdtr.limit;
    uint64_t offset = selector & 0xfff8;
    bool missing = local && !(state.ldtr.attributes & kAttributePresent);
    if (missing || offset + size - 1 > limit)
        return raise(exception, vector, selector_error(selector) | external);
    out.at = base + offset;
    if (size == 8) return read_object(cpu, Privilege::kSupervisor, out.at, out.descriptor.low, exception);
    return read_object(cpu, Privilege::kSupervisor, out.at, out.descriptor, exception);
}

bool check_stack_descriptor(const Descriptor& descriptor, uint16_t selector, unsigned cpl,
                            Exception& exception) {
    if (requested_privilege(selector) != cpl || !descriptor.is_writable_data() || descriptor.dpl() != cpl)
        return general_protection(exception, selector_error(selector));
    if (!descriptor.present()) return raise(exception, kSs_, selector_error(selector));
    return true;
}

}  // namespace

bool read_descriptor(Cpu& cpu, uint16_t selector, uint8_t vector, DescriptorSlot& out, Exception& exception,
                     uint32_t external) {
    return read_from_table(cpu, selector, 8, vector, out, exception, external);
}

bool read_system_descriptor(Cpu& cpu, uint16_t selector, uint8_t vector, DescriptorSlot& out,
                            Exception& exception) {
    return read_from_table(cpu, selector, cpu.state.long_mode() ? 16 : 8, vector, out, exception, 0);
}

bool mark_accessed(Cpu& cpu, DescriptorSlot& slot, Exception& exception) {
    if (slot.descriptor.is_system() || slot.descriptor.is_accessed()) return true;
    slot.descriptor.low |= uint64_t{kAttributeAccessed} << 40;
    auto byte = static_cast<uint8_t>(slot.descriptor.low >> 40);
    return write_as(cpu, Privilege::kSupervisor, slot.at + 5, &byte, 1, exception);
}

SegmentRegister make_segment(uint16_t selector, const Descriptor& descriptor) {
    return {selector, descriptor.attributes(), descriptor.limit(), descriptor.base32()};
}

SegmentRegister null_stack_segment(uint16_t selector, unsigned cpl) {
    return {selector, static_cast<uint16_t>(cpl << 5), 0, 0};
}

SegmentRegister flat_segment(uint16_t selector, uint16_t attributes, unsigned dpl) {
    return {selector, with_dpl(attributes, dpl), 0xffffffff, 0};
}

SegmentRegister real_mode_segment(const SegmentRegister& before, uint16_t selector) {
    if (!(before.attributes & kAttributePresent))
        return {selector, kRealModeSegment, 0xffff, uint64_t{selector} << 4};
    return {selector, before.attributes, before.limit, uint64_t{selector} << 4};
}

void enter_code(CpuState& state, const SegmentRegister& code, uint64_t rip) {
    bool was64 = state.code64();
    state.segments[kCs] = code;
    state.rip = rip;
    if (!was64 || state.code64()) return;
    for (unsigned i = kRax; i <= kRdi; ++i) state.gpr[i] = static_cast<uint32_t>(state.gpr[i]);
}

bool load_segment(Cpu& cpu, Segment which, uint16_t selector, Exception& exception) {
    unsigned cpl = cpu.state.cpl();
    if (!cpu.state.protected_mode()) {
        cpu.state.segments[which] = real_mode_segment(cpu.state.segments[which], selector);
        return true;
    }
    if (is_null_selector(selector)) {
        if (which == kSs) {
            if (!cpu.state.code64() || cpl == 3 || requested_privilege(selector) != cpl)
                return general_protection(exception);
            cpu.state.segments[kSs] = null_stack_segment(selector, cpl);
        } else {
            cpu.state.segments[which] = {selector, 0, 0, 0};
        }
        return true;
    }
    DescriptorSlot slot;
    if (!read_descriptor(cpu, selector, kGp, slot, exception)) return false;
    const Descriptor& descriptor = slot.descriptor;
    if (which == kSs) {
        if (!check_stack_descriptor(descriptor, selector, cpl, exception)) return false;
    } else {
        unsigned most = std::max(cpl, requested_privilege(selector));
        if (!descriptor.is_readable() || (!descriptor.is_conforming() && most > descriptor.dpl()))
            return general_protection(exception, selector_error(selector));
        if (!descriptor.present()) return raise(exception, kNp, selector_error(selector));
    }
    if (!mark_accessed(cpu, slot, exception)) return false;
    cpu.state.segments[which] = make_segment(selector, slot.descriptor);
    return true;
}

namespace {

/// The checks that all transfers share, once the descriptor's privilege is settled; fills `out`.
bool finish_code_target(Cpu& cpu, uint16_t selector, unsigned cpl, DescriptorSlot& slot, CodeTarget& out,
                        Exception& exception, uint32_t external = 0) {
    uint32_t error = selector_error(selector) | external;
    if (!slot.descriptor.present()) return raise(exception, kNp, error);
    if (cpu.state.long_mode() && slot.descriptor.is_long() && slot.descriptor.is_big())
        return general_protection(exception, error);
    if (!mark_accessed(cpu, slot, exception)) return false;
    out.cpl = cpl;
    out.segment = make_segment(static_cast<uint16_t>((selector & ~3) | cpl), slot.descriptor);
    return true;
}

}  // namespace

bool check_far_target(Cpu& cpu, uint16_t selector, CodeTarget& out, Exception& exception) {
    if (!cpu.state.protected_mode()) {
        out = {real_mode_segment(cpu.state.segments[kCs], selector), 0};
        return true;
    }
    if (is_null_selector(selector)) return general_protection(exception);
    DescriptorSlot slot;
    if (!read_descriptor(cpu, selector, kGp, slot, exception)) return false;
    unsigned cpl = cpu.state.cpl(), dpl = slot.descriptor.dpl();
    bool allowed =
        slot.descriptor.is_conforming() ? dpl <= cpl : dpl == cpl && requested_privilege(selector) <= cpl;
    if (!slot.descriptor.is_code() || !allowed)
        return general_protection(exception, selector_error(selector));
    return finish_code_target(cpu, selector, cpl, slot, out, exception);
}

bool check_return_target(Cpu& cpu, uint16_t selector, CodeTarget& out, Exception& exception) {
    if (!cpu.state.protected_mode()) return check_far_target(cpu, selector, out, exception);
    if (is_null_selector(selector)) return general_protection(exception);
    DescriptorSlot slot;
    if (!read_descriptor(cpu, selector, kGp, slot, exception)) return false;
    unsigned wanted = requested_privilege(selector), dpl = slot.descriptor.dpl();
    bool allowed =
        wanted >= cpu.state.cpl() && (slot.descriptor.is_conforming() ? dpl <= wanted : dpl == wanted);
    if (!slot.descriptor.is_code() || !allowed)
        return general_protection(exception, selector_error(selector));
    return finish_code_target(cpu, selector, wanted, slot, out, exception);
}

bool check_handler_target(Cpu& cpu, uint16_t selector, uint32_t external, CodeTarget& out,
                          Exception& exception) {
    if (is_null_selector(selector)) return general_protection(exception, external);
    DescriptorSlot slot;
    if (!read_descriptor(cpu, selector, kGp, slot, exception, external)) return false;
    const Descriptor& descriptor = slot.descriptor;
    unsigned cpl = cpu.state.cpl(), dpl = descriptor.dpl();
    bool wrong_width = cpu.state.long_mode() && (!descriptor.is_long() || descriptor.is_big());
    if (!descriptor.is_code() || dpl > cpl || wrong_width)
        return general_protection(exception, selector_error(selector) | external);
    return finish_code_target(cpu, selector, descriptor.is_conforming() ? cpl : dpl, slot, out, exception,
                              external);
}

bool check_return_stack(Cpu& cpu, uint16_t selector, const CodeTarget& target, SegmentRegister& out,
                        Exception& exception) {
    if (is_null_selector(selector)) {
        bool to64 = target.segment.attributes & kAttributeLong;
        if (!to64 || target.cpl == 3 || requested_privilege(selector) != target.cpl)
            return general_protection(exception);
        out = null_stack_segment(selector, target.cpl);
        return true;
    }
    DescriptorSlot slot;
    if (!read_descriptor(cpu, selector, kGp, slot, exception) ||
        !check_stack_descriptor(slot.descriptor, selector, target.cpl, exception) ||
        !mark_accessed(cpu, slot, exception))
        return false;
    out = make_segment(selector, slot.descriptor);
    return true;
}

void unload_privileged_segments(CpuState& state, unsigned cpl) {
    for (Segment which : {kEs, kDs, kFs, kGs}) {
        SegmentRegister& segment = state.segments[which];
        bool conforming =
            (segment.attributes & kAttributeCode) && (segment.attributes & kAttributeConforming);
        if (!(segment.attributes & kAttributePresent) || conforming) continue;
        if ((segment.attributes >> 5 & 3u) < cpl) segment.selector = segment.attributes = 0;
    }
}

}  // namespace lockstep::cpu
