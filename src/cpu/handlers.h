// SPDX-License-Identifier: Apache-2.0
// The handlers of the interpreter's instructions, by topic. Each executes one kind of instruction; its rules
// are those of the instruction's page in the Intel SDM vol. 2. The table in interpret.cc names them all.
#pragma once

#include "cpu/virtual_memory.h"

namespace lockstep::cpu {

#define LOCKSTEP_HANDLER(name) Outcome name(Cpu& cpu, const Instruction& instruction, Exception& exception)

// interpret_flags.cc
LOCKSTEP_HANDLER(cli_instruction);
LOCKSTEP_HANDLER(sti_instruction);
LOCKSTEP_HANDLER(cld_instruction);
LOCKSTEP_HANDLER(std_instruction);
LOCKSTEP_HANDLER(pushf_instruction);
LOCKSTEP_HANDLER(popf_instruction);

// interpret_port.cc
LOCKSTEP_HANDLER(in_instruction);
LOCKSTEP_HANDLER(out_instruction);
LOCKSTEP_HANDLER(ins_instruction);
LOCKSTEP_HANDLER(outs_instruction);

// interpret_string.cc
LOCKSTEP_HANDLER(movs_instruction);
LOCKSTEP_HANDLER(stos_instruction);
LOCKSTEP_HANDLER(lods_instruction);
LOCKSTEP_HANDLER(cmps_instruction);
LOCKSTEP_HANDLER(scas_instruction);

// interpret_transfer.cc
LOCKSTEP_HANDLER(syscall_instruction);
LOCKSTEP_HANDLER(sysret_instruction);
LOCKSTEP_HANDLER(sysenter_instruction);
LOCKSTEP_HANDLER(sysexit_instruction);
LOCKSTEP_HANDLER(iret_instruction);
LOCKSTEP_HANDLER(far_jump_instruction);
LOCKSTEP_HANDLER(far_call_instruction);
LOCKSTEP_HANDLER(far_return_instruction);
LOCKSTEP_HANDLER(int_instruction);
LOCKSTEP_HANDLER(int3_instruction);
LOCKSTEP_HANDLER(int1_instruction);
LOCKSTEP_HANDLER(undefined_instruction);

// interpret_system.cc
LOCKSTEP_HANDLER(hlt_instruction);
LOCKSTEP_HANDLER(cpuid_instruction);
LOCKSTEP_HANDLER(rdtsc_instruction);
LOCKSTEP_HANDLER(rdtscp_instruction);
LOCKSTEP_HANDLER(rdpmc_instruction);
LOCKSTEP_HANDLER(rdmsr_instruction);
LOCKSTEP_HANDLER(wrmsr_instruction);
LOCKSTEP_HANDLER(mov_control_instruction);
LOCKSTEP_HANDLER(mov_debug_instruction);
LOCKSTEP_HANDLER(clts_instruction);
LOCKSTEP_HANDLER(smsw_instruction);
LOCKSTEP_HANDLER(lmsw_instruction);
LOCKSTEP_HANDLER(invlpg_instruction);
LOCKSTEP_HANDLER(invpcid_instruction);
LOCKSTEP_HANDLER(cache_flush_all_instruction);
LOCKSTEP_HANDLER(cache_flush_line_instruction);

// interpret_segment.cc
LOCKSTEP_HANDLER(mov_segment_instruction);
LOCKSTEP_HANDLER(push_segment_instruction);
LOCKSTEP_HANDLER(pop_segment_instruction);
LOCKSTEP_HANDLER(load_far_pointer_instruction);
LOCKSTEP_HANDLER(lgdt_instruction);
LOCKSTEP_HANDLER(lidt_instruction);
LOCKSTEP_HANDLER(sgdt_instruction);
LOCKSTEP_HANDLER(sidt_instruction);
LOCKSTEP_HANDLER(lldt_instruction);
LOCKSTEP_HANDLER(ltr_instruction);
LOCKSTEP_HANDLER(sldt_instruction);
LOCKSTEP_HANDLER(str_instruction);
LOCKSTEP_HANDLER(swapgs_instruction);
LOCKSTEP_HANDLER(read_segment_base_instruction);
LOCKSTEP_HANDLER(write_segment_base_instruction);
LOCKSTEP_HANDLER(lar_instruction);
LOCKSTEP_HANDLER(lsl_instruction);
LOCKSTEP_HANDLER(verr_instruction);
LOCKSTEP_HANDLER(verw_instruction);

// interpret_float.cc
LOCKSTEP_HANDLER(fxsave_instruction);
LOCKSTEP_HANDLER(fxrstor_instruction);
LOCKSTEP_HANDLER(fnstenv_instruction);
LOCKSTEP_HANDLER(fldenv_instruction);
LOCKSTEP_HANDLER(fnsave_instruction);
LOCKSTEP_HANDLER(frstor_instruction);
LOCKSTEP_HANDLER(fninit_instruction);
LOCKSTEP_HANDLER(ldmxcsr_instruction);
LOCKSTEP_HANDLER(stmxcsr_instruction);
LOCKSTEP_HANDLER(maskmovq_instruction);
LOCKSTEP_HANDLER(maskmovdqu_instruction);
LOCKSTEP_HANDLER(vmaskmovdqu_instruction);

// interpret_vector.cc
LOCKSTEP_HANDLER(masked_move_of_doublewords);
LOCKSTEP_HANDLER(masked_move_of_quadwords);
LOCKSTEP_HANDLER(gather_doublewords_by_doublewords);
LOCKSTEP_HANDLER(gather_quadwords_by_doublewords);
LOCKSTEP_HANDLER(gather_doublewords_by_quadwords);
LOCKSTEP_HANDLER(gather_quadwords_by_quadwords);

// interpret_xsave.cc
LOCKSTEP_HANDLER(xsave_instruction);
LOCKSTEP_HANDLER(xrstor_instruction);
LOCKSTEP_HANDLER(xgetbv_instruction);
LOCKSTEP_HANDLER(xsetbv_instruction);

// interpret_other.cc
LOCKSTEP_HANDLER(push_instruction);
LOCKSTEP_HANDLER(pop_instruction);
LOCKSTEP_HANDLER(xlat_instruction);
LOCKSTEP_HANDLER(enter_instruction);
LOCKSTEP_HANDLER(leave_instruction);
LOCKSTEP_HANDLER(cmpxchg8b_instruction);
LOCKSTEP_HANDLER(cmpxchg16b_instruction);

// interpret_narrow.cc
LOCKSTEP_HANDLER(near_jump_instruction);
LOCKSTEP_HANDLER(near_call_instruction);
LOCKSTEP_HANDLER(near_return_instruction);
LOCKSTEP_HANDLER(conditional_jump_instruction);
LOCKSTEP_HANDLER(loop_instruction);
LOCKSTEP_HANDLER(push_all_instruction);
LOCKSTEP_HANDLER(pop_all_instruction);
LOCKSTEP_HANDLER(bound_instruction);
LOCKSTEP_HANDLER(arpl_instruction);
LOCKSTEP_HANDLER(salc_instruction);
LOCKSTEP_HANDLER(into_instruction);
LOCKSTEP_HANDLER(aaa_instruction);
LOCKSTEP_HANDLER(aas_instruction);
LOCKSTEP_HANDLER(aam_instruction);
LOCKSTEP_HANDLER(aad_instruction);
LOCKSTEP_HANDLER(daa_instruction);
LOCKSTEP_HANDLER(das_instruction);

#undef LOCKSTEP_HANDLER

/// #GP(0) unless CPL is 0.
[[nodiscard]] inline bool require_supervisor(const Cpu& cpu, Exception& exception) {
    return cpu.state.cpl() == 0 || general_protection(exception);
}

/// #UD or #NM unless AVX instructions may be executed.
[[nodiscard]] inline bool avx_available(const Cpu& cpu, Exception& exception) {
    if (!cpu.state.avx_enabled()) return raise(exception, kUd);
    return !(cpu.state.cr0 & x86::kCr0Ts) || raise(exception, kNm);
}

}  // namespace lockstep::cpu
