// SPDX-License-Identifier: Apache-2.0
// XSAVE, XRSTOR, XGETBV, XSETBV (Intel SDM vol. 1, chapter 13) for the x87, SSE and AVX state, in the standard
// form.
//
//     area    0 .. 511    legacy region, laid out as FXSAVE's
//             512 .. 575  header: XSTATE_BV, XCOMP_BV, reserved
//             576 .. 831  upper halves of the YMM registers, where AVX is enabled
//
// A processor may leave out a component that is in its initial state (XINUSE). Whether it notices depends on
// what ran before, so here all components always count as in use.
//
// Every switch of processes passes here: no byte is read, written or cleared that needn't be.
#include <algorithm>
#include <array>
#include <cstring>

#include "cpu/float_state.h"
#include "cpu/handlers.h"
#include "x86/control.h"
#include "x86/paging.h"

namespace lockstep::cpu {

using namespace x86;

namespace {

constexpr uint64_t kAreaAlignment = 64;

constexpr unsigned kHeader = 512;

/// The part of the header that XRSTOR checks; XSAVE knows its first field alone.
struct Header {
    uint64_t components = 0;  ///< XSTATE_BV
    uint64_t compaction = 0;  ///< XCOMP_BV
    uint64_t reserved = 0;
};

/// MXCSR goes with the SSE registers and with the AVX ones.
constexpr uint64_t kXcr0Mxcsr = kXcr0Sse | kXcr0Avx;

/// A run of bytes of the legacy region, and the components that it belongs to.
struct Part {
    uint64_t component;
    unsigned begin, end;
};
constexpr Part kParts[] = {{kXcr0X87, 0, kFxMxcsr},
                           {kXcr0Mxcsr, kFxMxcsr, kFxStack},
                           {kXcr0X87, kFxStack, kFxXmm},
                           {kXcr0Sse, kFxXmm, kFxEnd}};

void copy_parts(FxState& to, const uint8_t* from, uint64_t components) {
    for (const Part& part : kParts)
        if (components & part.component)
            std::memcpy(&to.bytes[part.begin], from + part.begin, part.end - part.begin);
}

/// The area that the memory operand names.
class Area {
  public:
    Area(Cpu& cpu, const Instruction& instruction)
        : cpu_(cpu), address_(effective_address(cpu, instruction)), stack_(instruction.stack_segment) {}

    [[nodiscard]] bool read(unsigned offset, void* out, unsigned size, Exception& exception) const {
        return stack_ ? read_stack(cpu_, address_ + offset, out, size, exception)
                      : read_virtual(cpu_, address_ + offset, out, size, exception);
    }
    [[nodiscard]] bool write(unsigned offset, const void* in, unsigned size, Exception& exception) const {
        return stack_ ? write_stack(cpu_, address_ + offset, in, size, exception)
                      : write_virtual(cpu_, address_ + offset, in, size, exception);
    }
    /// Whether all that XSAVE writes for `components` can be written. What lies between two parts is on the
    /// page of one of them.
    [[nodiscard]] bool is_writable(uint64_t components, Exception& exception) const {
        unsigned begin = components ? 0 : kHeader;
        unsigned size = (components & kXcr0Avx ? xsave_area_bytes(components)
                                               : kHeader + unsigned{sizeof Header::components}) -
                        begin;
        return stack_ ? check_stack_writable(cpu_, address_ + begin, size, exception)
                      : check_writable(cpu_, address_ + begin, size, exception);
    }
    [[nodiscard]] bool write_parts(const CpuState& state, uint64_t components, Exception& exception) const {
        const FxState& fx = state.fx;
        if ((components & kXcr0Avx) &&
            !write(kXsaveLegacyBytes, state.upper_halves.bytes.data(), kXsaveAvxBytes, exception))
            return false;
        constexpr uint64_t kLegacy = kXcr0X87 | kXcr0Sse;
        if ((components & kLegacy) == kLegacy) return write(0, fx.bytes.data(), kFxEnd, exception);
        return std::ranges::all_of(kParts, [&](const Part& part) {
            return !(components & part.component) ||
                   write(part.begin, &fx.bytes[part.begin], part.end - part.begin, exception);
        });
    }

  private:
    Cpu& cpu_;
    uint64_t address_;
    bool stack_;
};

uint64_t requested_components(const CpuState& state) {
    uint64_t requested = state.gpr[kRdx] << 32 | static_cast<uint32_t>(state.gpr[kRax]);
    return requested & state.xcr0;
}

bool is_enabled(const Cpu& cpu, Exception& exception) {
    return cpu.state.cr4 & kCr4Osxsave || raise(exception, kUd);
}

/// The checks of XSAVE and XRSTOR before they touch memory. An address that isn't canonical is left to the
/// access: it raises #SS where it goes by SS.
bool may_access(const Cpu& cpu, const Instruction& instruction, Access access, Exception& exception) {
    if (!is_enabled(cpu, exception)) return false;
    if (cpu.state.cr0 & kCr0Ts) return raise(exception, kNm);
    uint64_t address = 0;
    if (!operand_address(cpu, instruction, xsave_area_bytes(requested_components(cpu.state)), access, address,
                         exception))
        return false;
    return address % kAreaAlignment == 0 || !is_canonical(address) || general_protection(exception);
}

/// The rules of the standard form (Intel SDM vol. 1, 13.8.1).
bool is_valid(const Header& header, uint64_t xcr0) {
    return (header.components & ~xcr0) == 0 && header.compaction == 0 && header.reserved == 0;
}

/// How much of the legacy region XRSTOR needs. MXCSR is loaded even where the XMM registers get their initial
/// values.
unsigned bytes_to_read(uint64_t wanted, uint64_t present) {
    if (present & kXcr0Sse) return kFxEnd;
    if (present & kXcr0X87) return kFxXmm;
    return wanted & kXcr0Mxcsr ? kFxStack : 0;
}

void initialise(FxState& fx, uint64_t components) {
    FxState initial;
    reset_fx(initial);
    copy_parts(fx, initial.bytes.data(), components);
}

}  // namespace

Outcome xsave_instruction(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    if (!may_access(cpu, instruction, Access::kWrite, exception)) return Outcome::kFault;
    Area area(cpu, instruction);
    uint64_t wanted = requested_components(cpu.state), components = 0;
    if (!area.is_writable(wanted, exception) ||
        !area.read(kHeader, &components, sizeof components, exception))
        return Outcome::kFault;
    components |= wanted;
    return next_if(area.write_parts(cpu.state, wanted, exception) &&
                   area.write(kHeader, &components, sizeof components, exception));
}

Outcome xrstor_instruction(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    if (!may_access(cpu, instruction, Access::kRead, exception)) return Outcome::kFault;
    Area area(cpu, instruction);
    CpuState& state = cpu.state;
    Header header;
    if (!area.read(kHeader, &header, sizeof header, exception)) return Outcome::kFault;
    if (!is_valid(header, state.xcr0)) return next_if(general_protection(exception));
    uint64_t wanted = requested_components(state), present = wanted & header.components;
    std::array<uint8_t, kFxEnd> image;
    unsigned size = bytes_to_read(wanted, present);
    if (size && !area.read(0, image.data(), size, exception)) return Outcome::kFault;
    std::array<uint8_t, kXsaveAvxBytes> upper_halves;
    if ((present & kXcr0Avx) && !area.read(kXsaveLegacyBytes, upper_halves.data(), kXsaveAvxBytes, exception))
        return Outcome::kFault;
    uint32_t mxcsr = 0;
    if (wanted & kXcr0Mxcsr) std::memcpy(&mxcsr, &image[kFxMxcsr], sizeof mxcsr);
    if (mxcsr & ~kMxcsrMask) return next_if(general_protection(exception));

    if (wanted != present) initialise(state.fx, wanted & ~present);
    copy_parts(state.fx, image.data(), present);
    if (wanted & kXcr0Mxcsr) std::memcpy(&state.fx.bytes[kFxMxcsr], &mxcsr, sizeof mxcsr);
    normalise_software_fx(state.fx);
    if (present & kXcr0Avx) state.upper_halves.bytes = upper_halves;
    if (wanted & ~present & kXcr0Avx) state.upper_halves = {};
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
    bool valid = static_cast<uint32_t>(state.gpr[kRcx]) == 0 && (value & kXcr0X87) &&
                 (value & ~xcr0_of(cpu.model)) == 0;
    if ((value & kXcr0Avx) && !(value & kXcr0Sse)) valid = false;
    if (!valid) return next_if(general_protection(exception));
    state.xcr0 = value;
    return Outcome::kNext;
}

}  // namespace lockstep::cpu
