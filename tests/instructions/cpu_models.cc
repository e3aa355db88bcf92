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
    std::optional<Disassembly> refused = decode_in(it.expected.memory, it.expected.state.rip);
    return it.expected.vector == cpu::kGp && refused && refused->segment_base;
}

/// What is no instruction, at the end of a page: some CPUs want all of its bytes before they say so.
bool undefined_or_absent(const Comparison& it) {
    constexpr uint32_t kFetch = 0x10;
    return it.vectors(cpu::kPf, cpu::kUd) && it.same_place() && (it.expected.error_code & kFetch);
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
    std::optional<Disassembly> instruction = decode_in(before, it.expected.state.rip);
    return instruction && instruction->string &&
           !std::equal(&before[*at], &before[*at] + instruction->length, &it.expected.memory[*at]);
}

/// A store of an empty x87 register with that exception unmasked: it is held back for the next x87
/// instruction, and Intel's CPUs don't look for the page any more.
bool held_back_store(const Comparison& it) {
    constexpr uint16_t kInvalid = 1, kErrorSummary = 0x80;
    auto is_pending = [](const UserState& state) {
        return (state.fx.bytes[2] & (kInvalid | kErrorSummary)) == (kInvalid | kErrorSummary);
    };
    bool pending = is_pending(it.expected.state) && !is_pending(it.test_case.state);
    return it.instruction && it.instruction->extension == "X87" && it.actual.vector == cpu::kPf && pending &&
           !(it.expected.vector == cpu::kPf && it.same_place());
}

template <typename Predicate>
bool has_instruction(const Case& test_case, Predicate&& predicate) {
    Image image;
    apply_patches(test_case, image);
    uint64_t end = test_case.code_start + test_case.code_size;
    for (uint64_t at = test_case.code_start; at < end;) {
        std::optional<Disassembly> instruction = decode_in(image, at);
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

}  // namespace

LeftOut left_out(const Case& test_case, const Outcome& expected, const Outcome& actual) {
    Comparison it{test_case, expected, actual, decode_in(actual.memory, actual.state.rip)};
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
    return out;
}

}  // namespace lockstep::instructions
