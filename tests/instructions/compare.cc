// SPDX-License-Identifier: Apache-2.0
#include "compare.h"

#include <fmt/format.h>

#include <cstring>
#include <span>

#include "cpu_models.h"
#include "disassemble.h"

namespace lockstep::instructions {

namespace {

constexpr std::array<const char*, 16> kRegisterNames = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp",
                                                        "rsi", "rdi", "r8",  "r9",  "r10", "r11",
                                                        "r12", "r13", "r14", "r15"};

void difference(std::string& out, const std::string& what, uint64_t expected, uint64_t actual) {
    if (expected != actual)
        out += fmt::format("  {:<10} CPU {:#018x}  engine {:#018x}\n", what, expected, actual);
}

std::string flag_names(uint64_t flags) {
    constexpr std::pair<uint64_t, const char*> kNames[] = {
        {cpu::kFlagCf, "CF"}, {cpu::kFlagPf, "PF"}, {cpu::kFlagAf, "AF"}, {cpu::kFlagZf, "ZF"},
        {cpu::kFlagSf, "SF"}, {cpu::kFlagTf, "TF"}, {cpu::kFlagIf, "IF"}, {cpu::kFlagDf, "DF"},
        {cpu::kFlagOf, "OF"}, {cpu::kFlagRf, "RF"},
    };
    std::string names;
    for (auto [bit, name] : kNames)
        if (flags & bit) names += fmt::format(" {}", name);
    return names;
}

void compare_fx(std::string& out, const cpu::FxState& expected, const cpu::FxState& actual) {
    auto field = [&](const std::string& name, size_t at, size_t size) {
        uint64_t left = 0, right = 0;
        std::memcpy(&left, &expected.bytes[at], size);
        std::memcpy(&right, &actual.bytes[at], size);
        difference(out, name, left, right);
    };
    field("fcw", 0, 2);
    field("fsw", 2, 2);
    field("ftw", 4, 1);
    field("mxcsr", 24, 4);
    for (size_t i = 0; i < 8; ++i) {
        field(fmt::format("st{}", i), 32 + 16 * i, 8);
        field(fmt::format("st{}.exp", i), 40 + 16 * i, 2);
    }
    for (size_t i = 0; i < 16; ++i) {
        field(fmt::format("xmm{}", i), 160 + 16 * i, 8);
        field(fmt::format("xmm{}.high", i), 168 + 16 * i, 8);
    }
}

void compare_upper_halves(std::string& out, const cpu::UpperHalves& expected,
                          const cpu::UpperHalves& actual) {
    for (size_t i = 0; i < 32; ++i) {
        uint64_t left, right;
        std::memcpy(&left, &expected.bytes[8 * i], 8);
        std::memcpy(&right, &actual.bytes[8 * i], 8);
        difference(out, fmt::format("ymm{}.{}", i / 2, 2 + i % 2), left, right);
    }
}

void compare_registers(std::string& out, const UserState& expected, const UserState& actual) {
    for (size_t i = 0; i < kRegisterNames.size(); ++i)
        difference(out, kRegisterNames[i], expected.gpr[i], actual.gpr[i]);
    difference(out, "rip", expected.rip, actual.rip);
    difference(out, "fs.base", expected.fs_base, actual.fs_base);
    difference(out, "gs.base", expected.gs_base, actual.gs_base);
    compare_fx(out, expected.fx, actual.fx);
    compare_upper_halves(out, expected.upper_halves, actual.upper_halves);
}

void compare_memory(std::string& out, const Case& test_case, const Image& expected, const Image& actual) {
    if (std::memcmp(expected.data(), actual.data(), expected.size()) == 0) return;
    unsigned shown = 0;
    for (size_t at = 0; at < expected.size() && shown < 16; ++at) {
        uint64_t address = kSandbox[at / kPageSize].address + at % kPageSize;
        bool ignored = false;
        for (const AddressRange& range : test_case.ignored_memory)
            ignored |= address - range.start < range.size;
        if (expected[at] == actual[at] || ignored) continue;
        out += fmt::format("  [{:#x}]  CPU {:02x}  engine {:02x}\n", address, expected[at], actual[at]);
        ++shown;
    }
}

void compare_flags(std::string& out, uint64_t expected, uint64_t actual) {
    uint64_t differing = expected ^ actual;
    if (!differing) return;
    out += fmt::format("  rflags     CPU {:#x}  engine {:#x}:{}\n", expected, actual, flag_names(differing));
}

/// A repeated comparison that faults midway: its flags are those before it (Intel) or of the last step (AMD).
bool leaves_flags_open(const Case& test_case, const Outcome& outcome) {
    if (outcome.vector == cpu::kBp) return false;
    std::optional<Disassembly> instruction =
        decode_in(outcome.memory, outcome.state.rip, test_case.narrow_code);
    return instruction && instruction->repeated_comparison;
}

/// The kernel of the bare CPU hides what it has mapped: beyond the last page of the lower half every page is
/// reported as present.
uint32_t comparable_error_code(const Outcome& outcome) {
    bool upper_half = outcome.vector == cpu::kPf && outcome.cr2 >= (uint64_t{1} << 47) - kPageSize;
    return outcome.error_code | (upper_half ? 1 : 0);
}

UserState comparable_state(const LeftOut& without, UserState state) {
    constexpr size_t kStatus = 2, kTags = 4, kMxcsr = 24, kX87Registers = 32, kX87End = 160,
                     kVectorsEnd = kX87End + 16 * 16;
    if (without.x87) {
        std::fill_n(&state.fx.bytes[kStatus], 2, uint8_t{0});
        state.fx.bytes[kTags] = 0;
        std::fill(&state.fx.bytes[kX87Registers], &state.fx.bytes[kX87End], uint8_t{0});
    }
    if (without.mxcsr) std::fill_n(&state.fx.bytes[kMxcsr], 4, uint8_t{0});
    if (without.vectors) {
        std::fill(&state.fx.bytes[kX87End], &state.fx.bytes[kVectorsEnd], uint8_t{0});
        state.upper_halves = {};
    }
    if (without.upper_registers)
        for (auto number : {cpu::kRcx, cpu::kRsi, cpu::kRdi}) state.gpr[number] &= 0xffffffff;
    return state;
}

}  // namespace

std::string compare(const Case& test_case, const Outcome& expected, const Outcome& actual) {
    std::string out;
    if (expected.ending != actual.ending)
        return fmt::format("  ending: CPU {}, engine {} at rip {:#x}\n",
                           expected.ending == Ending::kTimeout ? "endless" : "exception",
                           actual.ending == Ending::kTimeout ? "endless" : "exception", actual.state.rip);
    LeftOut without = left_out(test_case, expected, actual);
    if (expected.ending == Ending::kTimeout || without.everything) return out;
    difference(out, "vector", expected.vector, actual.vector);
    if (expected.vector == actual.vector && !without.fault_address) {
        difference(out, "error code", comparable_error_code(expected), comparable_error_code(actual));
        uint64_t mask = test_case.large_operand ? ~kPageMask : ~uint64_t{0};
        difference(out, "cr2", expected.cr2 & mask, actual.cr2 & mask);
    }
    compare_registers(out, comparable_state(without, expected.state),
                      comparable_state(without, actual.state));
    uint64_t ignored = test_case.ignored_flags;
    if (leaves_flags_open(test_case, expected)) ignored |= cpu::kArithmeticFlags;
    compare_flags(out, expected.state.rflags & ~ignored, actual.state.rflags & ~ignored);
    if (!without.memory) compare_memory(out, test_case, expected.memory, actual.memory);
    if (test_case.count_instructions) difference(out, "retired", expected.retired, actual.retired);
    return out;
}

std::string compare_states(const UserState& expected, const UserState& actual) {
    std::string out;
    compare_registers(out, expected, actual);
    compare_flags(out, expected.rflags, actual.rflags);
    return out;
}

std::string describe(const Case& test_case) {
    std::string out = fmt::format("case {}   repeat with: instructions_test --case={}\n{}", test_case.name,
                                  test_case.name, listing(test_case));
    for (size_t i = 0; i < kRegisterNames.size(); ++i)
        out += fmt::format("    {:<4}{:016x}{}", kRegisterNames[i], test_case.state.gpr[i],
                           i % 4 == 3 ? "\n" : "");
    out += fmt::format("    rflags {:#x}{}  fs.base {:#x}  gs.base {:#x}\n", test_case.state.rflags,
                       flag_names(test_case.state.rflags), test_case.state.fs_base, test_case.state.gs_base);
    for (const Patch& patch : test_case.patches) {
        if (patch.address == test_case.code_start || patch.bytes.size() > 16) continue;
        out += fmt::format("    [{:#x}] =", patch.address);
        for (uint8_t byte : patch.bytes) out += fmt::format(" {:02x}", byte);
        out += "\n";
    }
    return out;
}

}  // namespace lockstep::instructions
