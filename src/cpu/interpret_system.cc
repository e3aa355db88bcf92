// SPDX-License-Identifier: Apache-2.0
// Control and debug registers, model-specific registers, CPUID, time, invalidation of translations, HLT.
#include "base/log.h"
#include "cpu/float_state.h"
#include "cpu/handlers.h"
#include "cpu/msr.h"
#include "x86/control.h"
#include "x86/cpuid.h"
#include "x86/descriptor.h"
#include "x86/msr.h"
#include "x86/paging.h"

namespace lockstep::cpu {

using namespace x86;

namespace {

uint64_t edx_eax(const CpuState& state) {
    return state.gpr[kRdx] << 32 | static_cast<uint32_t>(state.gpr[kRax]);
}

void set_edx_eax(CpuState& state, uint64_t value) {
    state.gpr[kRax] = static_cast<uint32_t>(value);
    state.gpr[kRdx] = value >> 32;
}

bool may_read_tsc(const Cpu& cpu, Exception& exception) {
    return cpu.state.cpl() == 0 || !(cpu.state.cr4 & kCr4Tsd) || general_protection(exception);
}

/// What begins and ends with CR0.PG where EFER.LME is set (Intel SDM vol. 3, 9.8.5).
void switch_long_mode(CpuState& state) {
    bool active = (state.cr0 & kCr0Pg) && (state.efer & kEferLme);
    state.efer = (state.efer & ~kEferLma) | (active ? kEferLma : 0);
}

bool write_cr0(Cpu& cpu, uint64_t value, Exception& exception) {
    CpuState& state = cpu.state;
    value |= kCr0Et;
    bool valid =
        !(value >> 32) && (!(value & kCr0Pg) || (value & kCr0Pe)) && (!(value & kCr0Nw) || (value & kCr0Cd));
    bool starts_paging = (value & kCr0Pg) && !(state.cr0 & kCr0Pg);
    // Paging and protection can't be left in 64-bit code, nor long mode be entered from a segment of it.
    if (state.code64()) valid = valid && (value & kCr0Pg);
    if (starts_paging && (state.efer & kEferLme))
        valid = valid && (state.cr4 & kCr4Pae) && !(state.segments[kCs].attributes & kAttributeLong);
    if (!(value & kCr0Pg) && (state.cr4 & kCr4Pcide)) valid = false;
    if (starts_paging && !(state.efer & kEferLme)) {
        log_error(
            "the guest turns on paging outside long mode, which this machine doesn't have; it needs a 64-bit "
            "system");
        valid = false;
    }
    if (!valid) return general_protection(exception);
    uint64_t before = state.cr0;
    state.cr0 = value & kCr0Valid;
    switch_long_mode(state);
    if ((before ^ state.cr0) & (kCr0Pg | kCr0Wp)) cpu.mmu.clear();
    return true;
}

bool write_cr3(Cpu& cpu, uint64_t value, Exception& exception) {
    bool tagged = cpu.state.cr4 & kCr4Pcide;
    bool keep = tagged && (value & kCr3Keep);
    if (tagged) value &= ~kCr3Keep;
    if (value >> kPhysicalBits) return general_protection(exception);
    cpu.mmu.load_cr3(value, keep);
    return true;
}

/// Machine-check exceptions, which never come. The CPUID model doesn't offer them, and firmware allows them unasked.
constexpr uint64_t kCr4Mce = 1 << 6;

bool write_cr4(Cpu& cpu, uint64_t value, Exception& exception) {
    CpuState& state = cpu.state;
    bool starts_tags = (value & kCr4Pcide) && !(state.cr4 & kCr4Pcide);
    bool needs_pae = state.long_mode() && !(value & kCr4Pae);
    bool tags_too_early = starts_tags && (!state.long_mode() || (state.cr3 & kPcidMask));
    if ((value & ~(kCr4Valid | kCr4Mce)) || needs_pae || tags_too_early) return general_protection(exception);
    uint64_t before = state.cr4;
    state.cr4 = value;
    cpu.breakpoints.load(state);
    if ((before ^ value) & (kCr4Pge | kCr4Pse | kCr4Pae | kCr4Pcide)) cpu.mmu.clear();
    return true;
}

bool write_control(Cpu& cpu, unsigned number, uint64_t value, Exception& exception) {
    switch (number) {
        case 0:
            return write_cr0(cpu, value, exception);
        case 2:
            cpu.state.cr2 = value;
            return true;
        case 3:
            return write_cr3(cpu, value, exception);
        case 4:
            return write_cr4(cpu, value, exception);
        case 8:
            if (value & ~uint64_t{15}) return general_protection(exception);
            cpu.platform.set_task_priority(value);
            return true;
        default:
            return raise(exception, kUd);
    }
}

bool read_control(Cpu& cpu, unsigned number, uint64_t& value, Exception& exception) {
    switch (number) {
        case 0:
            value = cpu.state.cr0;
            return true;
        case 2:
            value = cpu.state.cr2;
            return true;
        case 3:
            value = cpu.state.cr3;
            return true;
        case 4:
            value = cpu.state.cr4;
            return true;
        case 8:
            value = cpu.platform.task_priority();
            return true;
        default:
            return raise(exception, kUd);
    }
}

/// DR4 and DR5 are DR6 and DR7 unless CR4.DE is set; DR7.GD traps every access.
bool debug_register(Cpu& cpu, unsigned& number, Exception& exception) {
    CpuState& state = cpu.state;
    if (number == 4 || number == 5) {
        if (state.cr4 & kCr4De) return raise(exception, kUd);
        number += 2;
    }
    if (number > 7) return raise(exception, kUd);
    if (state.dr[7] & kDr7Gd) {
        state.dr[6] |= kDr6Bd;
        return raise(exception, kDb);
    }
    return true;
}

bool write_debug(Cpu& cpu, unsigned number, uint64_t value, Exception& exception) {
    if (number >= 6 && value >> 32) return general_protection(exception);
    if (number == 6)
        value = (value & kDr6Writable) | kDr6Fixed;
    else if (number == 7)
        value = (value & kDr7Writable) | kDr7Fixed;
    cpu.state.dr[number] = value;
    cpu.breakpoints.load(cpu.state);
    return true;
}

}  // namespace

Outcome hlt_instruction(Cpu& cpu, const Instruction&, Exception& exception) {
    if (!require_supervisor(cpu, exception)) return Outcome::kFault;
    cpu.state.halted = 1;
    return Outcome::kHalted;
}

Outcome cpuid_instruction(Cpu& cpu, const Instruction&, Exception&) {
    CpuState& state = cpu.state;
    auto leaf = static_cast<uint32_t>(state.gpr[kRax]), subleaf = static_cast<uint32_t>(state.gpr[kRcx]);
    CpuidResult result = cpuid({cpu.model, state.cr4, state.xcr0}, leaf, subleaf);
    state.gpr[kRax] = result.eax;
    state.gpr[kRbx] = result.ebx;
    state.gpr[kRcx] = result.ecx;
    state.gpr[kRdx] = result.edx;
    return Outcome::kNext;
}

Outcome rdtsc_instruction(Cpu& cpu, const Instruction&, Exception& exception) {
    if (!may_read_tsc(cpu, exception)) return Outcome::kFault;
    set_edx_eax(cpu.state, cpu.platform.tsc_line().at(cpu.state.icount));
    return Outcome::kNext;
}

Outcome rdtscp_instruction(Cpu& cpu, const Instruction&, Exception& exception) {
    if (!may_read_tsc(cpu, exception)) return Outcome::kFault;
    set_edx_eax(cpu.state, cpu.platform.tsc_line().at(cpu.state.icount));
    cpu.state.gpr[kRcx] = cpu.state.tsc_aux;
    return Outcome::kNext;
}

Outcome rdpmc_instruction(Cpu&, const Instruction&, Exception& exception) {
    return next_if(general_protection(exception));  // there are no counters
}

Outcome rdmsr_instruction(Cpu& cpu, const Instruction&, Exception& exception) {
    if (!require_supervisor(cpu, exception)) return Outcome::kFault;
    uint64_t value = 0;
    if (!read_msr(cpu, static_cast<uint32_t>(cpu.state.gpr[kRcx]), value))
        return next_if(general_protection(exception));
    set_edx_eax(cpu.state, value);
    return Outcome::kNext;
}

Outcome wrmsr_instruction(Cpu& cpu, const Instruction&, Exception& exception) {
    if (!require_supervisor(cpu, exception)) return Outcome::kFault;
    bool done = write_msr(cpu, static_cast<uint32_t>(cpu.state.gpr[kRcx]), edx_eax(cpu.state));
    return next_if(done || general_protection(exception));
}

Outcome mov_control_instruction(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    if (!require_supervisor(cpu, exception)) return Outcome::kFault;
    const Operand& to = instruction.operands[0];
    const Operand& from = instruction.operands[1];
    if (to.kind == OperandKind::kControl)
        return next_if(write_control(cpu, to.number, cpu.state.gpr[from.number], exception));
    uint64_t value = 0;
    if (!read_control(cpu, from.number, value, exception)) return Outcome::kFault;
    write_register(cpu.state, to.number, instruction.width == CodeWidth::k64 ? 8 : 4, value);
    return Outcome::kNext;
}

Outcome mov_debug_instruction(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    if (!require_supervisor(cpu, exception)) return Outcome::kFault;
    const Operand& to = instruction.operands[0];
    const Operand& from = instruction.operands[1];
    bool writes = to.kind == OperandKind::kDebug;
    unsigned number = writes ? to.number : from.number;
    if (!debug_register(cpu, number, exception)) return Outcome::kFault;
    if (writes) return next_if(write_debug(cpu, number, cpu.state.gpr[from.number], exception));
    write_register(cpu.state, to.number, instruction.width == CodeWidth::k64 ? 8 : 4, cpu.state.dr[number]);
    return Outcome::kNext;
}

Outcome clts_instruction(Cpu& cpu, const Instruction&, Exception& exception) {
    if (!require_supervisor(cpu, exception)) return Outcome::kFault;
    cpu.state.cr0 &= ~kCr0Ts;
    return Outcome::kNext;
}

Outcome smsw_instruction(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    return next_if(write_operand(cpu, instruction, 0, cpu.state.cr0, 2, exception));
}

Outcome lmsw_instruction(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    uint64_t value = 0;
    if (!require_supervisor(cpu, exception) || !read_operand(cpu, instruction, 0, value, exception))
        return Outcome::kFault;
    constexpr uint64_t kChangeable = kCr0Mp | kCr0Em | kCr0Ts;
    cpu.state.cr0 = (cpu.state.cr0 & ~kChangeable) | (value & (kChangeable | kCr0Pe));  // PE can only be set
    return Outcome::kNext;
}

Outcome invlpg_instruction(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    if (!require_supervisor(cpu, exception)) return Outcome::kFault;
    cpu.mmu.drop_page(GuestVirt(effective_address(cpu, instruction)));
    return Outcome::kNext;
}

Outcome invpcid_instruction(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    uint64_t descriptor[2];  // PCID, address
    if (!require_supervisor(cpu, exception) ||
        !read_operand_memory(cpu, instruction, descriptor, sizeof descriptor, exception))
        return Outcome::kFault;
    uint64_t type = cpu.state.gpr[instruction.operands[0].number];
    bool single = type <= 1, tagged = cpu.state.cr4 & kCr4Pcide;
    bool valid = type <= 3 && descriptor[0] <= kPcidMask && (!single || tagged || descriptor[0] == 0) &&
                 (type != 0 || is_canonical(descriptor[1]));
    if (!valid) return next_if(general_protection(exception));
    cpu.mmu.drop_pcid(static_cast<unsigned>(type), static_cast<uint16_t>(descriptor[0]),
                      GuestVirt(descriptor[1]));
    return Outcome::kNext;
}

/// INVD, WBINVD: there are no caches to see.
Outcome cache_flush_all_instruction(Cpu& cpu, const Instruction&, Exception& exception) {
    return next_if(require_supervisor(cpu, exception));
}

/// CLFLUSH: the checks of a load of one byte.
Outcome cache_flush_line_instruction(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    bool user = cpu.state.cpl() == 3;
    auto result = cpu.mmu.translate(GuestVirt(effective_address(cpu, instruction)), Access::kRead, user);
    if (auto* fault = std::get_if<Exception>(&result)) {
        exception = *fault;
        if (exception.vector == kGp && instruction.stack_segment) exception.vector = kSs_;
        return Outcome::kFault;
    }
    return Outcome::kNext;
}

void reset(Cpu& cpu) {
    CpuState& state = cpu.state;
    Icount icount = state.icount;  // the machine's clock goes on
    state = CpuState{};
    state.icount = icount;
    state.gpr[kRdx] = cpuid({.model = cpu.model}, 1, 0).eax;
    state.rip = 0xfff0;
    state.cr0 = kCr0Et | kCr0Nw | kCr0Cd;
    for (SegmentRegister& segment : state.segments) segment = {0, 0x93, 0xffff, 0};
    state.segments[kCs] = {0xf000, 0x9b, 0xffff, 0xffff0000};
    state.gdtr = state.idtr = {0, 0xffff};
    state.ldtr = {0, 0x82, 0xffff, 0};
    state.tr = {0, 0x8b, 0xffff, 0};
    reset_fx(state.fx);
    cpu.mmu.clear();
}

}  // namespace lockstep::cpu
