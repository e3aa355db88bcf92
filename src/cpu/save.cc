// SPDX-License-Identifier: Apache-2.0
#include "cpu/save.h"

#include <algorithm>
#include <span>

#include "base/hash.h"

namespace lockstep::cpu {

namespace {

template <typename State, typename Visit>
void visit_segment(State& segment, Visit& visit) {
    visit(segment.selector);
    visit(segment.attributes);
    visit(segment.limit);
    visit(segment.base);
}

/// Calls `visit` with every number of the state. `State` is CpuState, const or not.
template <typename State, typename Visit>
void visit_fields(State& state, Visit visit) {
    for (auto& value : state.gpr) visit(value);
    visit(state.rip);
    visit(state.rflags);
    for (auto& segment : state.segments) visit_segment(segment, visit);
    visit_segment(state.ldtr, visit);
    visit_segment(state.tr, visit);
    for (auto* table : {&state.gdtr, &state.idtr}) {
        visit(table->base);
        visit(table->limit);
    }
    for (auto* control : {&state.cr0, &state.cr2, &state.cr3, &state.cr4, &state.xcr0}) visit(*control);
    for (auto& value : state.dr) visit(value);
    for (auto* msr : {&state.efer, &state.star, &state.lstar, &state.cstar, &state.sfmask,
                      &state.kernel_gs_base, &state.sysenter_cs, &state.sysenter_esp, &state.sysenter_eip,
                      &state.pat, &state.tsc_aux, &state.spec_ctrl, &state.misc_enable, &state.mtrr_def_type})
        visit(*msr);
    visit(state.icount);
    visit(state.halted);
    visit(state.interrupt_shadow);
    visit(state.fx);
    visit(state.upper_halves);
}

struct Saver {
    ByteWriter& out;
    template <typename T>
    void operator()(const T& value) {
        out.fixed(value);
    }
    void operator()(const Icount& value) { out.fixed(value.value()); }
    void operator()(const FxState& value) { out.raw(value.bytes); }
    void operator()(const UpperHalves& value) { out.raw(value.bytes); }
};

struct Loader {
    ByteReader& in;
    template <typename T>
    void operator()(T& value) {
        value = in.fixed<T>();
    }
    void operator()(Icount& value) { value = Icount(in.fixed<uint64_t>()); }
    void operator()(FxState& value) { copy(value.bytes); }
    void operator()(UpperHalves& value) { copy(value.bytes); }
    void copy(std::span<uint8_t> to) {
        ByteSpan image = in.raw(to.size());
        std::copy(image.begin(), image.end(), to.begin());
    }
};

}  // namespace

void save(const CpuState& state, ByteWriter& out) { visit_fields(state, Saver{out}); }

Result<void> load(CpuState& state, ByteReader& in) {
    CpuState loaded;
    visit_fields(loaded, Loader{in});
    if (!in.ok()) return error("the saved processor state is cut short; the snapshot is damaged");
    state = loaded;
    return {};
}

uint64_t hash(const CpuState& state) {
    Bytes bytes;
    ByteWriter out(bytes);
    save(state, out);
    return hash64(bytes);
}

}  // namespace lockstep::cpu
