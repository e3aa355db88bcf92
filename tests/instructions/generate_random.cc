// SPDX-License-Identifier: Apache-2.0
// Random instructions: bytes behind random prefixes, and instructions of the forms with some of their bits changed.
//
// Only some may run on the bare CPU. What ends the oracle's process (system calls) or never ends (branches back)
// is left out, and so is what differs from CPU to CPU by its nature: time, identification, x87 pointers, segment
// registers, descriptor tables, and extensions that the CPU model hides. Where the bytes are no straight line, so
// a branch into the midst of them runs others: each byte counts as the beginning of an instruction.
#include <Zydis/Zydis.h>

#include <algorithm>

#include "generate.h"
#include "generate_parts.h"
#include "oracle_native.h"
#include "translate/offered_extensions.h"

namespace lockstep::instructions {

namespace {

constexpr uint8_t kBreakpoint = 0xcc;
constexpr std::array<uint8_t, 11> kPrefixBytes{0x66, 0x66, 0x67, 0xf2, 0xf3, 0xf3,
                                               0xf0, 0x64, 0x65, 0x2e, 0x36};

/// Offered by the CPU model, or hints that it takes for no-ops as the bare CPU does.
bool may_run(ZydisISAExt extension) {
    auto registers = translate::registers_of(extension);
    return (registers && (*registers != x86::Component::kAvx || host_has_avx())) ||
           extension == ZYDIS_ISA_EXT_CET || extension == ZYDIS_ISA_EXT_MPX ||
           extension == ZYDIS_ISA_EXT_CLDEMOTE;
}

bool differs_between_cpus(ZydisMnemonic mnemonic) {
    switch (mnemonic) {
        case ZYDIS_MNEMONIC_CPUID:
        case ZYDIS_MNEMONIC_RDTSC:
        case ZYDIS_MNEMONIC_RDTSCP:
        case ZYDIS_MNEMONIC_RDPMC:
        case ZYDIS_MNEMONIC_SGDT:
        case ZYDIS_MNEMONIC_SIDT:
        case ZYDIS_MNEMONIC_SLDT:
        case ZYDIS_MNEMONIC_STR:
        case ZYDIS_MNEMONIC_SMSW:
        case ZYDIS_MNEMONIC_LAR:
        case ZYDIS_MNEMONIC_LSL:
        case ZYDIS_MNEMONIC_VERR:
        case ZYDIS_MNEMONIC_VERW:
        case ZYDIS_MNEMONIC_LSS:
        case ZYDIS_MNEMONIC_LFS:
        case ZYDIS_MNEMONIC_LGS:
        case ZYDIS_MNEMONIC_FXSAVE:
        case ZYDIS_MNEMONIC_FXSAVE64:
        case ZYDIS_MNEMONIC_FXRSTOR:
        case ZYDIS_MNEMONIC_FXRSTOR64:
        case ZYDIS_MNEMONIC_FNSTENV:
        case ZYDIS_MNEMONIC_FLDENV:
        case ZYDIS_MNEMONIC_FNSAVE:
        case ZYDIS_MNEMONIC_FRSTOR:
        case ZYDIS_MNEMONIC_IRET:
        case ZYDIS_MNEMONIC_IRETD:
        case ZYDIS_MNEMONIC_IRETQ:
        case ZYDIS_MNEMONIC_POPF:
        case ZYDIS_MNEMONIC_POPFQ:
        case ZYDIS_MNEMONIC_UD0:
        case ZYDIS_MNEMONIC_UD1:
            return true;
        default:
            return false;
    }
}

bool ends_the_oracle(ZydisMnemonic mnemonic) {
    switch (mnemonic) {
        case ZYDIS_MNEMONIC_SYSCALL:
        case ZYDIS_MNEMONIC_SYSENTER:
        case ZYDIS_MNEMONIC_SYSRET:
        case ZYDIS_MNEMONIC_SYSEXIT:
        case ZYDIS_MNEMONIC_INT:
        case ZYDIS_MNEMONIC_INT1:
            return true;
        default:
            return false;
    }
}

bool has_segment_register(const ZydisDecodedInstruction& instruction, const ZydisDecodedOperand* operands) {
    for (unsigned i = 0; i < instruction.operand_count_visible; ++i)
        if (operands[i].type == ZYDIS_OPERAND_TYPE_REGISTER &&
            ZydisRegisterGetClass(operands[i].reg.value) == ZYDIS_REGCLASS_SEGMENT)
            return true;
    return false;
}

/// Of what is no instruction to the decoder, an opcode that some CPUs know: SSE4a, 3DNow!, VIA's, XOP, and CR8 by LOCK.
bool is_someones_opcode(ByteSpan bytes) {
    size_t at = 0;
    while (at < bytes.size() && (std::ranges::find(kPrefixBytes, bytes[at]) != kPrefixBytes.end() ||
                                 bytes[at] == 0x26 || bytes[at] == 0x3e || (bytes[at] & 0xf0) == 0x40))
        ++at;
    if (at + 1 >= bytes.size()) return false;
    uint8_t first = bytes[at], second = bytes[at + 1];
    if (first == 0x0f)
        return second == 0x0e || second == 0x0f || second == 0x01 || second == 0xae || second == 0xc7 ||
               second == 0xa6 || second == 0xa7 || second == 0x78 || second == 0x79 || second == 0x36 ||
               second == 0x37 || second == 0x20 || second == 0x22 || second == 0x24 || second == 0x26 ||
               second == 0x38 || second == 0x3a;
    return first == 0x8f || first == 0xc4 || first == 0xc5 || first == 0x62 || first == 0xc6 || first == 0xc7;
}

bool is_judged(ByteSpan bytes) {
    static const ZydisDecoder decoder = [] {
        ZydisDecoder made;
        ZydisDecoderInit(&made, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
        return made;
    }();
    ZydisDecodedInstruction instruction;
    ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
    if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, bytes.data(), bytes.size(), &instruction, operands)))
        return !is_someones_opcode(bytes);
    if (!may_run(instruction.meta.isa_ext) || differs_between_cpus(instruction.mnemonic) ||
        ends_the_oracle(instruction.mnemonic) || has_segment_register(instruction, operands) ||
        instruction.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR)
        return false;
    return !(operands[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE && operands[0].imm.is_relative &&
             operands[0].imm.value.s < 0);
}

uint8_t random_byte(Random& random) { return static_cast<uint8_t>(random.next()); }

void add_random_vex(Random& random, Bytes& code) {
    if (random.chance(5)) code.push_back(random.pick(kPrefixBytes));
    bool short_form = random.chance(50);
    code.push_back(short_form ? 0xc5 : 0xc4);
    if (!short_form)
        code.push_back(static_cast<uint8_t>((random_byte(random) & 0xe0) | (1 + random.below(3))));
    for (uint64_t left = 3 + random.below(7); left > 0; --left) code.push_back(random_byte(random));
}

void add_random_instruction(Random& random, Bytes& code) {
    if (random.chance(20)) return add_random_vex(random, code);
    while (random.chance(30)) code.push_back(random.pick(kPrefixBytes));
    if (random.chance(35)) code.push_back(static_cast<uint8_t>(0x40 + random.below(16)));
    uint64_t map = random.below(10);
    if (map >= 4) code.push_back(0x0f);
    if (map == 8) code.push_back(0x38);
    if (map == 9) code.push_back(0x3a);
    for (uint64_t left = 1 + random.below(7); left > 0; --left) code.push_back(random_byte(random));
}

void mutate(Random& random, Bytes& code) {
    for (uint64_t left = 1 + random.below(3); left > 0; --left) {
        if (code.empty()) code.push_back(random_byte(random));  // a form's case may have none
        size_t at = random.below(std::min<size_t>(code.size(), 12));
        auto place = code.begin() + static_cast<int64_t>(at);
        switch (random.below(6)) {
            case 0:
                code[at] = random_byte(random);
                break;
            case 1:
            case 2:
                code.insert(place, random.pick(kPrefixBytes));
                break;
            case 3:
                code.insert(place, static_cast<uint8_t>(0x40 + random.below(16)));
                break;
            default:
                code[at] ^= static_cast<uint8_t>(1u << random.below(8));
        }
    }
}

/// The end of the sandbox's region that holds `at`.
uint64_t end_of_code(uint64_t at) {
    while (image_offset(at)) at = (at & ~kPageMask) + kPageSize;
    return at;
}

}  // namespace

Bytes random_code(Random& random) {
    if (random.chance(60)) {
        Case form = generate_form_case(random.below(forms().size()), random.next());
        Bytes code = form.patches.back().bytes;
        while (!code.empty() && code.back() == kBreakpoint) code.pop_back();
        mutate(random, code);
        return code;
    }
    Bytes code;
    for (uint64_t left = 1 + random.below(5); left > 0; --left) add_random_instruction(random, code);
    return code;
}

Case generate_random_case(uint64_t seed) {
    Random random(seed * 0x9e3779b97f4a7c15 + 11);
    Case out = generate_form_case(random.below(forms().size()), random.next());
    Bytes& code = out.patches.back().bytes;
    if (random.chance(70)) {
        mutate(random, code);
    } else {
        code = random_code(random);
        for (unsigned i = 0; i < 16; ++i)
            if (random.chance(60))
                out.state.gpr[i] = pick_target(random, 1u << random.below(5), Reach::kAnywhere);
    }
    code.insert(code.end(), {kBreakpoint, kBreakpoint});
    code.resize(std::min<size_t>(code.size(), end_of_code(out.code_start) - out.code_start));
    out.name = fmt::format("random:{}", seed);
    out.code_size = static_cast<unsigned>(code.size());
    out.count_instructions = false;
    return out;
}

bool can_be_judged(const Case& test_case) {
    Bytes code = test_case.patches.back().bytes;
    size_t size = code.size();
    code.insert(code.end(), 15, kBreakpoint);
    for (size_t at = 0; at < size; ++at)
        if (!is_judged(ByteSpan(code).subspan(at, 15))) return false;
    return true;
}

}  // namespace lockstep::instructions
