// SPDX-License-Identifier: Apache-2.0
// The table of the interpreter's instructions, and the loop around one instruction.
//
// Everything that isn't in the table is the translator's (or undefined). Instructions that the CPUID model
// hides but that the host may have are in it too, as undefined: the translator must not pass them through.
#include <Zydis/Zydis.h>

#include <algorithm>
#include <array>

#include "cpu/cpu.h"
#include "cpu/handlers.h"
#include "cpu/interpret_table.h"
#include "x86/control.h"

namespace lockstep::cpu {

namespace {

// Whether a block may go on behind the instruction (Instruction::sequential).
constexpr bool kGoesOn = true, kEndsBlock = false;

// clang-format off
constexpr TableRow kTable[] = {
    {ZYDIS_MNEMONIC_CLI, cli_instruction, kGoesOn},
    {ZYDIS_MNEMONIC_STI, sti_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_CLD, cld_instruction, kGoesOn},
    {ZYDIS_MNEMONIC_STD, std_instruction, kGoesOn},
    {ZYDIS_MNEMONIC_PUSHF, pushf_instruction, kGoesOn},
    {ZYDIS_MNEMONIC_PUSHFQ, pushf_instruction, kGoesOn},
    {ZYDIS_MNEMONIC_POPF, popf_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_POPFQ, popf_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_PUSHFD, pushf_instruction, kGoesOn},
    {ZYDIS_MNEMONIC_POPFD, popf_instruction, kEndsBlock},

    {ZYDIS_MNEMONIC_IN, in_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_OUT, out_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_INSB, ins_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_INSW, ins_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_INSD, ins_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_OUTSB, outs_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_OUTSW, outs_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_OUTSD, outs_instruction, kEndsBlock},

    {ZYDIS_MNEMONIC_MOVSB, movs_instruction, kGoesOn},
    {ZYDIS_MNEMONIC_MOVSW, movs_instruction, kGoesOn},
    {ZYDIS_MNEMONIC_MOVSD, movs_instruction, kGoesOn},  // the SSE instruction of this name is told apart in decode.cc
    {ZYDIS_MNEMONIC_MOVSQ, movs_instruction, kGoesOn},
    {ZYDIS_MNEMONIC_STOSB, stos_instruction, kGoesOn},
    {ZYDIS_MNEMONIC_STOSW, stos_instruction, kGoesOn},
    {ZYDIS_MNEMONIC_STOSD, stos_instruction, kGoesOn},
    {ZYDIS_MNEMONIC_STOSQ, stos_instruction, kGoesOn},
    {ZYDIS_MNEMONIC_LODSB, lods_instruction, kGoesOn},
    {ZYDIS_MNEMONIC_LODSW, lods_instruction, kGoesOn},
    {ZYDIS_MNEMONIC_LODSD, lods_instruction, kGoesOn},
    {ZYDIS_MNEMONIC_LODSQ, lods_instruction, kGoesOn},
    {ZYDIS_MNEMONIC_CMPSB, cmps_instruction, kGoesOn},
    {ZYDIS_MNEMONIC_CMPSW, cmps_instruction, kGoesOn},
    {ZYDIS_MNEMONIC_CMPSD, cmps_instruction, kGoesOn},  // see MOVSD
    {ZYDIS_MNEMONIC_CMPSQ, cmps_instruction, kGoesOn},
    {ZYDIS_MNEMONIC_SCASB, scas_instruction, kGoesOn},
    {ZYDIS_MNEMONIC_SCASW, scas_instruction, kGoesOn},
    {ZYDIS_MNEMONIC_SCASD, scas_instruction, kGoesOn},
    {ZYDIS_MNEMONIC_SCASQ, scas_instruction, kGoesOn},

    {ZYDIS_MNEMONIC_SYSCALL, syscall_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_SYSRET, sysret_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_SYSENTER, sysenter_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_SYSEXIT, sysexit_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_IRET, iret_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_IRETD, iret_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_IRETQ, iret_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_JMP, far_jump_instruction, kEndsBlock},  // far forms alone, see decode.cc
    {ZYDIS_MNEMONIC_CALL, far_call_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_RET, far_return_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_INT, int_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_INT1, int1_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_INT3, int3_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_UD0, undefined_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_UD1, undefined_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_UD2, undefined_instruction, kEndsBlock},

    {ZYDIS_MNEMONIC_HLT, hlt_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_CPUID, cpuid_instruction, kGoesOn},
    {ZYDIS_MNEMONIC_RDTSC, rdtsc_instruction, kGoesOn},
    {ZYDIS_MNEMONIC_RDTSCP, rdtscp_instruction, kGoesOn},
    {ZYDIS_MNEMONIC_RDPMC, rdpmc_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_RDMSR, rdmsr_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_WRMSR, wrmsr_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_MOV, nullptr, kEndsBlock},  // by operand, see decode.cc
    {ZYDIS_MNEMONIC_CLTS, clts_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_SMSW, smsw_instruction, kGoesOn},
    {ZYDIS_MNEMONIC_LMSW, lmsw_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_INVLPG, invlpg_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_INVPCID, invpcid_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_INVD, cache_flush_all_instruction, kGoesOn},
    {ZYDIS_MNEMONIC_WBINVD, cache_flush_all_instruction, kGoesOn},
    {ZYDIS_MNEMONIC_CLFLUSH, cache_flush_line_instruction, kGoesOn},

    {ZYDIS_MNEMONIC_PUSH, push_instruction, kGoesOn},  // FS and GS: see decode.cc
    {ZYDIS_MNEMONIC_POP, pop_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_LFS, load_far_pointer_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_LGS, load_far_pointer_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_LSS, load_far_pointer_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_LGDT, lgdt_instruction, kGoesOn},
    {ZYDIS_MNEMONIC_LIDT, lidt_instruction, kGoesOn},
    {ZYDIS_MNEMONIC_SGDT, sgdt_instruction, kGoesOn},
    {ZYDIS_MNEMONIC_SIDT, sidt_instruction, kGoesOn},
    {ZYDIS_MNEMONIC_LLDT, lldt_instruction, kGoesOn},
    {ZYDIS_MNEMONIC_LTR, ltr_instruction, kGoesOn},
    {ZYDIS_MNEMONIC_SLDT, sldt_instruction, kGoesOn},
    {ZYDIS_MNEMONIC_STR, str_instruction, kGoesOn},
    {ZYDIS_MNEMONIC_SWAPGS, swapgs_instruction, kGoesOn},
    {ZYDIS_MNEMONIC_RDFSBASE, read_segment_base_instruction, kGoesOn},
    {ZYDIS_MNEMONIC_RDGSBASE, read_segment_base_instruction, kGoesOn},
    {ZYDIS_MNEMONIC_WRFSBASE, write_segment_base_instruction, kGoesOn},
    {ZYDIS_MNEMONIC_WRGSBASE, write_segment_base_instruction, kGoesOn},
    {ZYDIS_MNEMONIC_LAR, lar_instruction, kGoesOn},
    {ZYDIS_MNEMONIC_LSL, lsl_instruction, kGoesOn},
    {ZYDIS_MNEMONIC_VERR, verr_instruction, kGoesOn},
    {ZYDIS_MNEMONIC_VERW, verw_instruction, kGoesOn},

    {ZYDIS_MNEMONIC_FXSAVE, fxsave_instruction, kGoesOn},
    {ZYDIS_MNEMONIC_FXSAVE64, fxsave_instruction, kGoesOn},
    {ZYDIS_MNEMONIC_FXRSTOR, fxrstor_instruction, kGoesOn},
    {ZYDIS_MNEMONIC_FXRSTOR64, fxrstor_instruction, kGoesOn},
    {ZYDIS_MNEMONIC_XSAVE, xsave_instruction, kGoesOn},
    {ZYDIS_MNEMONIC_XSAVE64, xsave_instruction, kGoesOn},
    {ZYDIS_MNEMONIC_XRSTOR, xrstor_instruction, kGoesOn},
    {ZYDIS_MNEMONIC_XRSTOR64, xrstor_instruction, kGoesOn},
    {ZYDIS_MNEMONIC_XGETBV, xgetbv_instruction, kGoesOn},
    {ZYDIS_MNEMONIC_XSETBV, xsetbv_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_FNSTENV, fnstenv_instruction, kGoesOn},
    {ZYDIS_MNEMONIC_FLDENV, fldenv_instruction, kGoesOn},
    {ZYDIS_MNEMONIC_FNSAVE, fnsave_instruction, kGoesOn},
    {ZYDIS_MNEMONIC_FRSTOR, frstor_instruction, kGoesOn},
    {ZYDIS_MNEMONIC_FNINIT, fninit_instruction, kGoesOn},
    {ZYDIS_MNEMONIC_LDMXCSR, ldmxcsr_instruction, kGoesOn},
    {ZYDIS_MNEMONIC_STMXCSR, stmxcsr_instruction, kGoesOn},
    {ZYDIS_MNEMONIC_MASKMOVQ, maskmovq_instruction, kGoesOn},
    {ZYDIS_MNEMONIC_MASKMOVDQU, maskmovdqu_instruction, kGoesOn},

    {ZYDIS_MNEMONIC_VMASKMOVDQU, vmaskmovdqu_instruction, kGoesOn},
    {ZYDIS_MNEMONIC_VMASKMOVPS, masked_move_of_doublewords, kGoesOn},
    {ZYDIS_MNEMONIC_VMASKMOVPD, masked_move_of_quadwords, kGoesOn},
    {ZYDIS_MNEMONIC_VPMASKMOVD, masked_move_of_doublewords, kGoesOn},
    {ZYDIS_MNEMONIC_VPMASKMOVQ, masked_move_of_quadwords, kGoesOn},
    {ZYDIS_MNEMONIC_VGATHERDPS, gather_doublewords_by_doublewords, kGoesOn},
    {ZYDIS_MNEMONIC_VGATHERDPD, gather_quadwords_by_doublewords, kGoesOn},
    {ZYDIS_MNEMONIC_VGATHERQPS, gather_doublewords_by_quadwords, kGoesOn},
    {ZYDIS_MNEMONIC_VGATHERQPD, gather_quadwords_by_quadwords, kGoesOn},
    {ZYDIS_MNEMONIC_VPGATHERDD, gather_doublewords_by_doublewords, kGoesOn},
    {ZYDIS_MNEMONIC_VPGATHERDQ, gather_quadwords_by_doublewords, kGoesOn},
    {ZYDIS_MNEMONIC_VPGATHERQD, gather_doublewords_by_quadwords, kGoesOn},
    {ZYDIS_MNEMONIC_VPGATHERQQ, gather_quadwords_by_quadwords, kGoesOn},

    {ZYDIS_MNEMONIC_XLAT, xlat_instruction, kGoesOn},
    {ZYDIS_MNEMONIC_ENTER, enter_instruction, kGoesOn},
    {ZYDIS_MNEMONIC_LEAVE, leave_instruction, kGoesOn},
    {ZYDIS_MNEMONIC_CMPXCHG8B, cmpxchg8b_instruction, kGoesOn},
    {ZYDIS_MNEMONIC_CMPXCHG16B, cmpxchg16b_instruction, kGoesOn},

    // Outside 64-bit code
    {ZYDIS_MNEMONIC_JB, conditional_jump_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_JBE, conditional_jump_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_JL, conditional_jump_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_JLE, conditional_jump_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_JNB, conditional_jump_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_JNBE, conditional_jump_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_JNL, conditional_jump_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_JNLE, conditional_jump_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_JNO, conditional_jump_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_JNP, conditional_jump_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_JNS, conditional_jump_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_JNZ, conditional_jump_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_JO, conditional_jump_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_JP, conditional_jump_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_JS, conditional_jump_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_JZ, conditional_jump_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_LOOP, loop_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_LOOPE, loop_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_LOOPNE, loop_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_JCXZ, loop_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_JECXZ, loop_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_PUSHA, push_all_instruction, kGoesOn},
    {ZYDIS_MNEMONIC_PUSHAD, push_all_instruction, kGoesOn},
    {ZYDIS_MNEMONIC_POPA, pop_all_instruction, kGoesOn},
    {ZYDIS_MNEMONIC_POPAD, pop_all_instruction, kGoesOn},
    {ZYDIS_MNEMONIC_BOUND, bound_instruction, kGoesOn},
    {ZYDIS_MNEMONIC_ARPL, arpl_instruction, kGoesOn},
    {ZYDIS_MNEMONIC_SALC, salc_instruction, kGoesOn},
    {ZYDIS_MNEMONIC_AAA, aaa_instruction, kGoesOn},
    {ZYDIS_MNEMONIC_AAS, aas_instruction, kGoesOn},
    {ZYDIS_MNEMONIC_AAM, aam_instruction, kGoesOn},
    {ZYDIS_MNEMONIC_AAD, aad_instruction, kGoesOn},
    {ZYDIS_MNEMONIC_DAA, daa_instruction, kGoesOn},
    {ZYDIS_MNEMONIC_DAS, das_instruction, kGoesOn},
    {ZYDIS_MNEMONIC_INTO, into_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_LDS, load_far_pointer_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_LES, load_far_pointer_instruction, kEndsBlock},

    // Hidden by the CPUID model
    {ZYDIS_MNEMONIC_RDRAND, undefined_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_RDSEED, undefined_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_RDPID, undefined_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_RDPRU, undefined_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_RDPKRU, undefined_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_WRPKRU, undefined_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_MONITOR, undefined_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_MWAIT, undefined_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_MONITORX, undefined_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_MWAITX, undefined_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_UMONITOR, undefined_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_UMWAIT, undefined_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_TPAUSE, undefined_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_XSAVEC, undefined_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_XSAVEC64, undefined_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_XSAVEOPT, undefined_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_XSAVEOPT64, undefined_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_XSAVES, undefined_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_XSAVES64, undefined_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_XRSTORS, undefined_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_XRSTORS64, undefined_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_XBEGIN, undefined_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_XEND, undefined_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_XABORT, undefined_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_XTEST, undefined_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_CLAC, undefined_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_STAC, undefined_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_CLWB, undefined_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_CLFLUSHOPT, undefined_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_CLZERO, undefined_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_MOVDIRI, undefined_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_MOVDIR64B, undefined_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_PTWRITE, undefined_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_SERIALIZE, undefined_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_GETSEC, undefined_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_RSM, undefined_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_ENCLS, undefined_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_ENCLU, undefined_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_ENCLV, undefined_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_PCONFIG, undefined_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_VMCALL, undefined_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_VMFUNC, undefined_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_VMLAUNCH, undefined_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_VMRESUME, undefined_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_VMXON, undefined_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_VMXOFF, undefined_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_VMCLEAR, undefined_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_VMPTRLD, undefined_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_VMPTRST, undefined_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_VMREAD, undefined_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_VMWRITE, undefined_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_INVEPT, undefined_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_INVVPID, undefined_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_VMMCALL, undefined_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_VMRUN, undefined_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_VMLOAD, undefined_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_VMSAVE, undefined_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_CLGI, undefined_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_STGI, undefined_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_SKINIT, undefined_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_INVLPGA, undefined_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_INVLPGB, undefined_instruction, kEndsBlock},
    {ZYDIS_MNEMONIC_TLBSYNC, undefined_instruction, kEndsBlock},
};
// clang-format on

/// Row number + 1 by mnemonic; 0 where there is none.
constexpr auto make_index() {
    std::array<uint8_t, ZYDIS_MNEMONIC_MAX_VALUE + 1> index{};
    static_assert(std::size(kTable) < 256);
    for (size_t row = 0; row < std::size(kTable); ++row)
        index[kTable[row].mnemonic] = static_cast<uint8_t>(row + 1);
    return index;
}
constexpr auto kIndex = make_index();

constexpr size_t kLongestInstruction = 15;

/// Instruction bytes at rip. 16 of them can be read, but only `size` belong to the instruction's page, or to
/// it and the next.
struct Fetched {
    const uint8_t* bytes = nullptr;
    size_t size = 0;
    std::array<uint8_t, 16> buffer;  ///< where they don't lie in one piece
};

/// The code bytes at the linear address `at`, up to the end of its page: `out` is null where they aren't RAM.
bool fetch_page(Cpu& cpu, uint64_t at, const uint8_t*& out, Exception& exception) {
    bool user = cpu.state.cpl() == 3;
    out = cpu.mmu.glance<Access::kExecute>(GuestVirt(at), user);
    if (out) return true;
    auto result = cpu.mmu.translate(GuestVirt(at), Access::kExecute, user);
    if (auto* fault = std::get_if<Exception>(&result)) {
        exception = *fault;
        return false;
    }
    const TlbEntry& entry = *std::get<const TlbEntry*>(result);
    out = entry.ram ? cpu.memory.host(GuestPhys(entry.page)) + (at & kPageMask) : nullptr;
    return true;
}

bool fetch(Cpu& cpu, Fetched& out, Exception& exception) {
    uint64_t at = cpu.state.code_address();
    if (!fetch_page(cpu, at, out.bytes, exception)) return false;
    if (!out.bytes) return true;
    out.size = std::min<size_t>(16, kPageSize - (at & kPageMask));
    if (out.size == 16) return true;
    out.buffer.fill(0);
    std::copy_n(out.bytes, out.size, out.buffer.begin());
    out.bytes = out.buffer.data();
    return true;
}

/// Adds the bytes of the next page to an instruction that doesn't end on its own page.
bool fetch_rest(Cpu& cpu, Fetched& fetched, Exception& exception) {
    const uint8_t* rest = nullptr;
    if (!fetch_page(cpu, cpu.state.code_address() + fetched.size, rest, exception)) return false;
    if (!rest) return true;
    std::copy_n(rest, 16 - fetched.size, fetched.buffer.begin() + fetched.size);
    fetched.size = 16;
    return true;
}

StepResult finish(CpuState& state, const Instruction& instruction, Outcome outcome) {
    switch (outcome) {
        case Outcome::kFault:
            return StepResult::kFault;
        case Outcome::kHalted:
        case Outcome::kNext:
            state.rip = state.rip_behind(instruction.length);
            break;
        case Outcome::kJumped:
        case Outcome::kAgain:
            break;
    }
    ++state.icount;
    return outcome == Outcome::kHalted ? StepResult::kHalt : StepResult::kDone;
}

}  // namespace

const TableRow* find_row(ZydisMnemonic mnemonic) {
    unsigned row = kIndex[mnemonic];
    return row ? &kTable[row - 1] : nullptr;
}

StepResult execute(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    CpuState& state = cpu.state;
    uint8_t shadow = state.interrupt_shadow;
    state.interrupt_shadow = 0;
    ++cpu.interpreted[instruction.kind];
    Outcome outcome = instruction.handler(cpu, instruction, exception);
    if (outcome == Outcome::kFault) state.interrupt_shadow = shadow;
    return finish(state, instruction, outcome);
}

StepResult interpret(Cpu& cpu, Exception& exception) {
    CodeWidth width = cpu.state.code_width();
    Fetched fetched;
    if (!fetch(cpu, fetched, exception)) return StepResult::kFault;
    if (!fetched.bytes) return StepResult::kUnsupported;
    uint64_t rip = cpu.state.code_address();
    const Instruction* instruction = cpu.decode_cache.find(rip, fetched.bytes, fetched.size, width);
    if (!instruction && fetched.size < 16) {
        if (!is_complete(fetched.bytes, fetched.size, width) && !fetch_rest(cpu, fetched, exception))
            return StepResult::kFault;
        instruction = cpu.decode_cache.find(rip, fetched.bytes, fetched.size, width);
    }
    if (!instruction) {
        Instruction decoded;
        if (!decode(fetched.bytes, std::min(fetched.size, kLongestInstruction), decoded, width))
            return StepResult::kUnsupported;
        instruction = cpu.decode_cache.insert(rip, fetched.bytes, decoded);
    }
    return execute(cpu, *instruction, exception);
}

}  // namespace lockstep::cpu
