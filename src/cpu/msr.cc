// SPDX-License-Identifier: Apache-2.0
#include "cpu/msr.h"

#include "x86/control.h"
#include "x86/msr.h"
#include "x86/paging.h"

namespace lockstep::cpu {

using namespace x86;

namespace {

bool is_platform_msr(uint32_t number) {
    return number == kMsrTsc || number == kMsrTscDeadline || number == kMsrApicBase ||
           (number >= kMsrX2apicFirst && number <= kMsrX2apicLast);
}

/// A register that holds a 64-bit value of its own: where it lives, and what it accepts.
enum class Rule : uint8_t { kAny, kCanonical, k32Bits, kMask };
struct Plain {
    uint32_t number;
    uint64_t CpuState::*field;
    Rule rule;
    uint64_t mask = 0;
};

constexpr Plain kPlain[] = {
    {kMsrSysenterCs, &CpuState::sysenter_cs, Rule::k32Bits},
    {kMsrSysenterEsp, &CpuState::sysenter_esp, Rule::kCanonical},
    {kMsrSysenterEip, &CpuState::sysenter_eip, Rule::kCanonical},
    {kMsrStar, &CpuState::star, Rule::kAny},
    {kMsrLstar, &CpuState::lstar, Rule::kCanonical},
    {kMsrCstar, &CpuState::cstar, Rule::kCanonical},
    {kMsrSfmask, &CpuState::sfmask, Rule::k32Bits},
    {kMsrKernelGsBase, &CpuState::kernel_gs_base, Rule::kCanonical},
    {kMsrTscAux, &CpuState::tsc_aux, Rule::k32Bits},
    {kMsrSpecCtrl, &CpuState::spec_ctrl, Rule::kMask, kSpecCtrlValid},
    {kMsrMiscEnable, &CpuState::misc_enable, Rule::kAny},
    {kMsrMtrrDefType, &CpuState::mtrr_def_type, Rule::kMask, kMtrrDefTypeValid},
};

const Plain* find_plain(uint32_t number) {
    for (const Plain& row : kPlain)
        if (row.number == number) return &row;
    return nullptr;
}

bool accepts(const Plain& row, uint64_t value) {
    switch (row.rule) {
        case Rule::kAny:
            return true;
        case Rule::kCanonical:
            return is_canonical(value);
        case Rule::k32Bits:
            return value >> 32 == 0;
        case Rule::kMask:
            return (value & ~row.mask) == 0;
    }
    return false;
}

/// Registers that always read the same. Some may be written with no effect, with the bits of `ignored` alone.
struct Fixed {
    uint32_t number;
    uint64_t value;
    bool writable;
    uint64_t ignored;
};
constexpr Fixed kFixed[] = {
    {kMsrPlatformId, 0, false, 0},
    {kMsrPowerOn, 0, false, 0},
    {kMsrTscAdjust, 0, true, 0},  // the offset can't be changed
    {kMsrBiosSignature, kMicrocodeRevision << 32, true, ~uint64_t{0}},
    {kMsrMtrrCap, 0, false, 0},
    {kMsrArchCapabilities, kArchCapabilities, false, 0},
    {kMsrMcgCap, 0, false, 0},
    {kMsrMcgStatus, 0, true, 0},
    {kMsrDebugCtl, 0, true, 3},  // branch records and branch steps aren't modelled
};

const Fixed* find_fixed(uint32_t number) {
    for (const Fixed& row : kFixed)
        if (row.number == number) return &row;
    return nullptr;
}

bool is_pat(uint64_t value) {
    for (unsigned i = 0; i < 8; ++i) {
        unsigned type = value >> i * 8 & 0xff;
        if (type > 7 || type == 2 || type == 3) return false;
    }
    return true;
}

bool write_efer(Cpu& cpu, uint64_t value) {
    CpuState& state = cpu.state;
    if (value & ~kEferValid) return false;
    if ((state.cr0 & kCr0Pg) && ((value ^ state.efer) & kEferLme)) return false;
    uint64_t before = state.efer;
    state.efer = (value & ~kEferLma) | (before & kEferLma);
    if ((before ^ state.efer) & kEferNxe) cpu.mmu.clear();
    return true;
}

bool write_base(CpuState& state, Segment which, uint64_t value) {
    if (!is_canonical(value)) return false;
    state.segments[which].base = value;
    return true;
}

}  // namespace

bool read_msr(Cpu& cpu, uint32_t number, uint64_t& value) {
    const CpuState& state = cpu.state;
    if (is_platform_msr(number)) {
        std::optional<uint64_t> answer = cpu.platform.read_msr(number);
        value = answer.value_or(0);
        return answer.has_value();
    }
    if (const Plain* row = find_plain(number)) {
        value = state.*row->field;
        return true;
    }
    if (const Fixed* row = find_fixed(number)) {
        value = row->value;
        return true;
    }
    switch (number) {
        case kMsrEfer:
            value = state.efer;
            return true;
        case kMsrPat:
            value = state.pat;
            return true;
        case kMsrFsBase:
            value = state.segments[kFs].base;
            return true;
        case kMsrGsBase:
            value = state.segments[kGs].base;
            return true;
        default:
            return false;
    }
}

bool write_msr(Cpu& cpu, uint32_t number, uint64_t value) {
    CpuState& state = cpu.state;
    if (is_platform_msr(number)) return cpu.platform.write_msr(number, value);
    if (const Plain* row = find_plain(number)) {
        if (!accepts(*row, value)) return false;
        state.*row->field = value;
        return true;
    }
    if (const Fixed* row = find_fixed(number)) return row->writable && (value & ~row->ignored) == 0;
    switch (number) {
        case kMsrEfer:
            return write_efer(cpu, value);
        case kMsrPat:
            if (!is_pat(value)) return false;
            state.pat = value;
            return true;
        case kMsrFsBase:
            return write_base(state, kFs, value);
        case kMsrGsBase:
            return write_base(state, kGs, value);
        case kMsrPredCmd:
            return (value & ~uint64_t{1}) == 0;  // the barrier has nothing to do
        default:
            return false;
    }
}

}  // namespace lockstep::cpu
