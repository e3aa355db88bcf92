// The fields of the processor's state, for saving, loading and hashing.
#pragma once

#include "cpu/cpu_state.h"
#include "record/fields.h"

namespace lockstep::machine {

/// A reference to a CpuState with a list of fields, as record/fields.h wants it.
struct CpuFields {
    cpu::CpuState& state;

    template <typename Codec>
    void fields(Codec& codec) {
        cpu::CpuState& s = state;
        auto segment = [&codec](cpu::SegmentRegister& r) {
            codec(r.selector, r.attributes, r.limit, r.base);
        };
        codec(s.gpr, s.rip, s.rflags);
        for (cpu::SegmentRegister& r : s.segments) segment(r);
        segment(s.ldtr);
        segment(s.tr);
        codec(s.gdtr.base, s.gdtr.limit, s.idtr.base, s.idtr.limit);
        codec(s.cr0, s.cr2, s.cr3, s.cr4, s.dr, s.efer, s.star, s.lstar, s.cstar, s.sfmask, s.kernel_gs_base);
        codec(s.sysenter_cs, s.sysenter_esp, s.sysenter_eip, s.pat, s.tsc_aux, s.spec_ctrl, s.misc_enable);
        codec(s.mtrr_def_type, s.icount, s.halted, s.interrupt_shadow, s.fx.bytes);
    }
};

}  // namespace lockstep::machine
