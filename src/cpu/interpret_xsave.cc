// XSAVE, XRSTOR, XGETBV, XSETBV (Intel SDM vol. 1, chapter 13) for the x87 and SSE state, in the standard
// form.
//
//     area    0 .. 511    legacy region, laid out as FXSAVE's
//             512 .. 575  header: XSTATE_BV, XCOMP_BV, reserved
//
// A processor may leave out a component that is in its initial state (XINUSE). Whether it notices depends on
// what ran before, so here both components always count as in use.
#include <cstring>

#include "cpu/float_state.h"
#include "cpu/handlers.h"
#include "x86/control.h"
#include "x86/paging.h"

namespace lockstep::cpu {

using namespace x86;

namespace {

constexpr uint64_t kAreaAlignment = 64;

/// The part of the area that XSAVE may write.
struct WrittenArea {
    FxState legacy;
    uint64_t components = 0;  ///< XSTATE_BV
};
constexpr unsigned kWrittenBytes = 520;

struct Area {
    FxState legacy;
    uint64_t components = 0;
    uint64_t compaction = 0;  ///< XCOMP_BV
    uint64_t reserved[6] = {};
};
static_assert(sizeof(Area) == kXsaveAreaBytes &&
              offsetof(Area, components) == offsetof(WrittenArea, components));

/// A run of bytes of the legacy region, and the component it belongs to. MXCSR goes with the SSE registers.
struct Part {
    uint64_t component;
    unsigned begin, end;
};
constexpr Part kParts[] = {{kXcr0X87, 0, kFxMxcsr},
                           {kXcr0Sse, kFxMxcsr, kFxStack},
                           {kXcr0X87, kFxStack, kFxXmm},
                           {kXcr0Sse, kFxXmm, kFxEnd}};

void copy_parts(FxState& to, const FxState& from, uint64_t components) {
    for (const Part& part : kParts)
        if (components & part.component)
            std::memcpy(&to.bytes[part.begin], &from.bytes[part.begin], part.end - part.begin);
}

uint64_t requested_components(const CpuState& state) {
    uint64_t requested = state.gpr[kRdx] << 32 | static_cast<uint32_t>(state.gpr[kRax]);
    return requested & state.xcr0;
}

bool is_enabled(const Cpu& cpu, Exception& exception) {
    return cpu.state.cr4 & kCr4Osxsave || raise(exception, kUd);
}

/// The checks of XSAVE and XRSTOR before they touch memory. An address that isn't canonical is left to the
/// access: it raises #SS where it goes by SS.
bool may_access(const Cpu& cpu, const Instruction& instruction, Exception& exception) {
    if (!is_enabled(cpu, exception)) return false;
    if (cpu.state.cr0 & kCr0Ts) return raise(exception, kNm);
    uint64_t address = effective_address(cpu, instruction);
    return address % kAreaAlignment == 0 || !is_canonical(address) || general_protection(exception);
}

/// Page faults of XSAVE are those of a write, though the area is read first.
bool is_writable(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    uint64_t address = effective_address(cpu, instruction);
    return !is_canonical(address) || check_writable(cpu, address, kWrittenBytes, exception);
}

uint32_t mxcsr_of(const FxState& fx) {
    uint32_t mxcsr;
    std::memcpy(&mxcsr, &fx.bytes[kFxMxcsr], 4);
    return mxcsr;
}

/// The rules of the standard form (Intel SDM vol. 1, 13.8.1).
bool is_valid(const CpuState& state, const Area& area, uint64_t wanted) {
    bool header = (area.components & ~state.xcr0) == 0 && area.compaction == 0 && area.reserved[0] == 0;
    bool mxcsr = !(wanted & kXcr0Sse) || (mxcsr_of(area.legacy) & ~kMxcsrMask) == 0;
    return header && mxcsr;
}

}  // namespace

Outcome xsave_instruction(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    WrittenArea area;
    if (!may_access(cpu, instruction, exception) || !is_writable(cpu, instruction, exception) ||
        !read_operand_memory(cpu, instruction, &area, kWrittenBytes, exception))
        return Outcome::kFault;
    uint64_t wanted = requested_components(cpu.state);
    copy_parts(area.legacy, cpu.state.fx, wanted);
    area.components |= wanted;
    return next_if(write_operand_memory(cpu, instruction, &area, kWrittenBytes, exception));
}

Outcome xrstor_instruction(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    Area area;
    if (!may_access(cpu, instruction, exception) ||
        !read_operand_memory(cpu, instruction, &area, sizeof area, exception))
        return Outcome::kFault;
    CpuState& state = cpu.state;
    uint64_t wanted = requested_components(state);
    if (!is_valid(state, area, wanted)) return next_if(general_protection(exception));
    uint32_t mxcsr = wanted & kXcr0Sse ? mxcsr_of(area.legacy) : mxcsr_of(state.fx);
    FxState initial;
    reset_fx(initial);
    copy_parts(state.fx, initial, wanted & ~area.components);
    copy_parts(state.fx, area.legacy, wanted & area.components);
    // MXCSR is loaded even where the SSE registers get their initial values.
    std::memcpy(&state.fx.bytes[kFxMxcsr], &mxcsr, 4);
    normalise_software_fx(state.fx);
    return Outcome::kNext;
}

Outcome xgetbv_instruction(Cpu& cpu, const Instruction&, Exception& exception) {
    CpuState& state = cpu.state;
    if (!is_enabled(cpu, exception)) return Outcome::kFault;
    if (static_cast<uint32_t>(state.gpr[kRcx]) != 0) return next_if(general_protection(exception));
    state.gpr[kRax] = static_cast<uint32_t>(state.xcr0);
    state.gpr[kRdx] = state.xcr0 >> 32;
    return Outcome::kNext;
}

Outcome xsetbv_instruction(Cpu& cpu, const Instruction&, Exception& exception) {
    CpuState& state = cpu.state;
    if (!is_enabled(cpu, exception) || !require_supervisor(cpu, exception)) return Outcome::kFault;
    uint64_t value = state.gpr[kRdx] << 32 | static_cast<uint32_t>(state.gpr[kRax]);
    bool valid =
        static_cast<uint32_t>(state.gpr[kRcx]) == 0 && (value & kXcr0X87) && (value & ~kXcr0Valid) == 0;
    if (!valid) return next_if(general_protection(exception));
    state.xcr0 = value;
    return Outcome::kNext;
}

}  // namespace lockstep::cpu
