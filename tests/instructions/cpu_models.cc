// SPDX-License-Identifier: Apache-2.0
#include "cpu_models.h"

#include <algorithm>

#include "disassemble.h"

namespace lockstep::instructions {

namespace {

/// A comparison, with the instruction that the engine saw fault.
struct Comparison {
    const Case& test_case;
    const Outcome& expected;
    const Outcome& actual;
    std::optional<Disassembly> instruction;

    bool vectors(uint8_t cpu, uint8_t engine) const {
        return expected.vector == cpu && actual.vector == engine;
    }
    bool starts_with(std::string_view mnemonic) const {
        return instruction && instruction->mnemonic.starts_with(mnemonic);
    }
    /// Whether the CPU missed a page of the code.
    bool misses_code() const {
        constexpr uint32_t kFetch = 0x10;
        return expected.vector == cpu::kPf && (expected.error_code & kFetch);
    }
    /// Whether both refuse the same instruction.
    bool both_fault() const {
        return expected.vector != cpu::kBp && actual.vector != cpu::kBp && same_place();
    }
    bool both_page_faults() const { return vectors(cpu::kPf, cpu::kPf); }
    bool same_place() const { return expected.state.rip == actual.state.rip; }
    bool is(std::string_view mnemonic) const { return instruction && instruction->mnemonic == mnemonic; }
};

/// The last page below the canonical border, which no host maps.
bool in_last_page(uint64_t address) { return address >> 12 == (uint64_t{1} << 35) - 1; }

/// Some CPUs answer an access to the last page with #GP, a misaligned one, too.
bool refused_border(const Comparison& it) {
    return (it.vectors(cpu::kGp, cpu::kPf) && in_last_page(it.actual.cr2)) || it.vectors(cpu::kGp, cpu::kAc);
}

/// Some CPUs want the address canonical before the base of FS or GS is added, too.
bool refused_before_the_base(const Comparison& it) {
    std::optional<Disassembly> refused =
        decode_in(it.expected.memory, it.expected.state.rip, it.test_case.narrow_code);
    return it.expected.vector == cpu::kGp && refused && refused->segment_base;
}

/// What is no instruction, at the end of a page: some CPUs want all of its bytes before they say so.
bool undefined_or_absent(const Comparison& it) {
    return it.vectors(cpu::kPf, cpu::kUd) && it.same_place() && it.misses_code();
}

/// Where an operand ends behind the border, some CPUs look for the page of its first part before.
bool faults_before_border(const Comparison& it) {
    bool refused = it.vectors(cpu::kPf, cpu::kGp) || it.vectors(cpu::kPf, cpu::kSs_);
    return refused && in_last_page(it.expected.cr2);
}

/// A misaligned operand on a missing page. Intel's SHA instructions refuse it first, AMD's know no alignment;
/// of FXSAVE and FXRSTOR Intel's look for the page first, and AMD's raise #AC where that is asked for.
bool alignment_or_page(const Comparison& it) {
    if (!it.instruction || !it.same_place()) return false;
    bool page_or_stack = it.actual.vector == cpu::kPf || it.actual.vector == cpu::kSs_;
    bool sha = it.instruction->extension == "SHA" && it.expected.vector == cpu::kGp && page_or_stack;
    bool image =
        it.test_case.large_operand && (it.vectors(cpu::kPf, cpu::kGp) || it.vectors(cpu::kAc, cpu::kGp));
    return sha || image;
}

/// The last bytes of FXSAVE's image, which it doesn't write: on Intel's CPUs they need a page all the same.
bool needs_unwritten_bytes(const Comparison& it) {
    return it.test_case.large_operand && it.expected.vector == cpu::kPf && !it.same_place();
}

/// A repeated string instruction over its own code: Intel's CPUs stop and read it anew.
bool overwrites_itself(const Comparison& it) {
    std::optional<size_t> at = image_offset(it.expected.state.rip);
    if (!at) return false;
    Image before;
    apply_patches(it.test_case, before);
    std::optional<Disassembly> instruction =
        decode_in(before, it.expected.state.rip, it.test_case.narrow_code);
    return instruction && instruction->string &&
           !std::equal(&before[*at], &before[*at] + instruction->length, &it.expected.memory[*at]);
}

/// Whether the instruction has left an x87 exception behind for the next one: one of `kinds` of the status word's bits.
bool holds_exception_back(const Comparison& it, uint8_t kinds) {
    constexpr uint8_t kErrorSummary = 0x80;
    auto is_pending = [kinds](const UserState& state) {
        return (state.fx.bytes[2] & kErrorSummary) && (state.fx.bytes[2] & kinds);
    };
    return is_pending(it.expected.state) && !is_pending(it.test_case.state);
}

/// A store of an empty x87 register with that exception unmasked: it is held back for the next x87
/// instruction, and Intel's CPUs don't look for the page any more.
bool held_back_store(const Comparison& it) {
    constexpr uint8_t kInvalid = 1;
    return it.instruction && it.instruction->extension == "X87" && it.actual.vector == cpu::kPf &&
           holds_exception_back(it, kInvalid) && !(it.expected.vector == cpu::kPf && it.same_place());
}

template <typename Predicate>
bool has_instruction(const Case& test_case, Predicate&& predicate) {
    Image image;
    apply_patches(test_case, image);
    uint64_t end = test_case.code_start + test_case.code_size;
    for (uint64_t at = test_case.code_start; at < end;) {
        std::optional<Disassembly> instruction = decode_in(image, at, test_case.narrow_code);
        if (instruction && predicate(*instruction)) return true;
        at += instruction ? instruction->length : 1;
    }
    return false;
}

bool has_narrow_string(const Case& test_case) {
    return has_instruction(test_case, [](const Disassembly& it) { return it.string && it.narrow; });
}

/// Of a near branch with the prefix 66 AMD's CPUs cut RIP (and the displacement) to 16 bits, Intel's don't
/// look at it; of a far pointer with REX.W Intel's take 64 bits of offset, AMD's 32; 0F 0D with a register is
/// a NOP to Intel's alone. The engine is as the CPUID model's vendor is, which is Intel.
bool depends_on_the_maker(const Comparison& it) {
    return has_instruction(it.test_case, [](const Disassembly& at) { return at.depends_on_the_maker; });
}

/// A string instruction with 32-bit addresses and a count of zero: Intel's CPUs cut the registers even then,
/// and what follows computes with them.
bool cuts_without_a_step(const Comparison& it) {
    uint64_t count = it.test_case.state.gpr[cpu::kRcx];
    return count != 0 && static_cast<uint32_t>(count) == 0 && has_narrow_string(it.test_case);
}

bool ends_differently(const Comparison& it) {
    return refused_border(it) || faults_before_border(it) || alignment_or_page(it) || held_back_store(it) ||
           needs_unwritten_bytes(it) || overwrites_itself(it) || cuts_without_a_step(it) ||
           depends_on_the_maker(it) || refused_before_the_base(it) || undefined_or_absent(it);
}

/// Where both pages of a large operand fault, the CPU's model decides which one is reported; of MASKMOVDQU's,
/// which byte.
bool names_other_byte(const Comparison& it) {
    if (!it.both_page_faults()) return false;
    if (it.is("maskmovdqu") || it.is("maskmovq")) return it.expected.cr2 - it.actual.cr2 < 16;
    return it.test_case.large_operand && it.expected.cr2 / kPageSize == it.actual.cr2 / kPageSize + 1;
}

// What Intel's CPUs do otherwise than the engine, which was first held against AMD's. On AMD's hosts all of this is judged.
namespace intel {

bool judges() { return __builtin_cpu_is("intel"); }

/// Too long for an instruction, at the end of a page: they want the sixteenth byte before they say so.
bool too_long_or_absent(const Comparison& it) {
    return it.vectors(cpu::kPf, cpu::kGp) && it.same_place() && it.misses_code();
}

/// Where alignment is checked they have raised no #AC for an operand of 16 or 32 bytes that needn't be aligned.
bool checks_wide_operand(const Comparison& it) {
    return it.actual.vector == cpu::kAc && it.instruction && it.instruction->memory_bytes >= 16;
}

/// Where an operand ends behind the canonical border, or behind the segment of 32-bit code, they look for the page of
/// its first part or at its alignment before.
bool looks_before_border(const Comparison& it) {
    bool refused = it.actual.vector == cpu::kGp || it.actual.vector == cpu::kSs_;
    bool last_page = it.test_case.narrow_code && it.expected.cr2 >> 12 == (uint64_t{1} << 20) - 1;
    bool page = it.expected.vector == cpu::kPf && last_page;
    return refused && it.same_place() && (page || it.expected.vector == cpu::kAc);
}

/// Which of #AC and #PF comes first is each model's own affair (SDM vol. 3A, "Priority Among Simultaneous Exceptions
/// and Interrupts"). Seen of VCVTPH2PS and VCVTPS2PH.
bool page_before_alignment(const Comparison& it) {
    bool either = it.vectors(cpu::kPf, cpu::kAc) || it.vectors(cpu::kAc, cpu::kPf);
    return either && it.same_place() && (it.is("vcvtph2ps") || it.is("vcvtps2ph"));
}

/// A store whose x87 exception is held back: they don't look at its place at all.
bool holds_any_store_back(const Comparison& it) {
    constexpr uint8_t kAnyKind = 0x3f;
    bool x87 = it.instruction && (it.instruction->extension == "X87" || it.is("fisttp"));
    return x87 && it.actual.vector != cpu::kBp && holds_exception_back(it, kAnyKind) &&
           !(it.expected.vector == cpu::kPf && it.same_place());
}

/// CMPS: they look at the operand at RDI first, AMD's at that at RSI.
bool compares_in_other_order(const Comparison& it) { return it.starts_with("cmps") && it.both_fault(); }

/// BOUND, whose second bound lies in a missing page: they compare with the first one before they read it.
bool compares_with_first_bound(const Comparison& it) {
    constexpr uint8_t kBr = 5;
    return it.is("bound") && it.vectors(kBr, cpu::kPf) && it.same_place();
}

/// VCVTPS2PH with an exception that isn't masked, to a place that is refused: they convert first.
bool converts_first(const Comparison& it) {
    return it.is("vcvtps2ph") && it.expected.vector == cpu::kXm && it.both_fault();
}

/// No compiler makes it: F3 before XCHG of R8 with RAX (PAUSE to them), F2 and F3 before LOOPE and LOOPNE (AMD's CPUs
/// choose between these by it), MOVSXD to 16 bits (they read only 16), VPEXTRQ and VPINSRQ in 32-bit code (the
/// doubleword's forms to them, nothing to AMD's).
bool is_read_otherwise(const Comparison& it) {
    return has_instruction(it.test_case, [](const Disassembly& at) { return at.read_otherwise_by_intel; });
}

bool ends_otherwise(const Comparison& it) {
    return too_long_or_absent(it) || checks_wide_operand(it) || looks_before_border(it) ||
           page_before_alignment(it) || holds_any_store_back(it) || compares_in_other_order(it) ||
           compares_with_first_bound(it) || converts_first(it) || is_read_otherwise(it);
}

/// Of a masked store they name another byte of the page.
bool names_any_byte(const Comparison& it) {
    bool masked = it.is("vmaskmovdqu") || it.starts_with("vmaskmovp") || it.starts_with("vpmaskmov");
    return masked && it.both_page_faults() && it.expected.cr2 / kPageSize == it.actual.cr2 / kPageSize;
}

void leave_out(const Comparison& it, bool faults_at_once, LeftOut& out) {
    out.everything |= ends_otherwise(it);
    out.fault_address |= names_any_byte(it);
    // They have put a conversion's flags there when its store is refused.
    out.mxcsr = faults_at_once && it.is("vcvtps2ph");
    // They have widened a gather's mask and taken elements by then, AMD's go back to the start.
    out.vectors = faults_at_once && it.instruction->mnemonic.find("gather") != std::string::npos;
    // A CALL has written its way back before its target turns out not to be canonical.
    out.memory |= faults_at_once && it.is("call") && it.actual.vector == cpu::kGp;
}

}  // namespace intel

}  // namespace

LeftOut left_out(const Case& test_case, const Outcome& expected, const Outcome& actual) {
    Comparison it{test_case, expected, actual,
                  decode_in(actual.memory, actual.state.rip, test_case.narrow_code)};
    LeftOut out;
    out.everything = ends_differently(it);
    out.fault_address = names_other_byte(it);
    bool faults_at_once = it.instruction && it.same_place() && actual.vector != cpu::kBp;
    // Intel's CPUs have made the x87 registers MMX ones when a store's page turns out to be missing.
    out.x87 = faults_at_once && it.instruction->uses_mmx;
    // Intel's CPUs cut the registers of a string instruction to the address size before its first access, or
    // where it does nothing.
    out.upper_registers = has_narrow_string(test_case);
    // Intel's CPUs leave in memory what they have written before the fault.
    out.memory = faults_at_once && (it.is("enter") || it.instruction->extension == "X87");
    if (intel::judges()) intel::leave_out(it, faults_at_once, out);
    return out;
}

}  // namespace lockstep::instructions
