// SPDX-License-Identifier: Apache-2.0
#include "debug/gdb_registers.h"

#include <fmt/format.h>

#include <functional>
#include <string_view>
#include <vector>

namespace lockstep::debug {

namespace {

using cpu::CpuState;

struct Register {
    std::string name;
    unsigned bits;
    std::string_view type;
    std::function<Bytes(const CpuState&)> value;
};

/// Registers of one <feature>. gdb asks that those of its own have its names and its order.
struct Feature {
    std::string_view name;
    std::string_view types;  ///< that the registers need
    std::vector<Register> registers;
};

Bytes number(uint64_t value, unsigned bits) {
    Bytes bytes;
    for (unsigned at = 0; at < bits; at += 8) bytes.push_back(static_cast<uint8_t>(value >> at));
    return bytes;
}

Register of_number(std::string name, unsigned bits, std::string_view type,
                   std::function<uint64_t(const CpuState&)> value) {
    return {std::move(name), bits, type,
            [bits, value = std::move(value)](const CpuState& state) { return number(value(state), bits); }};
}

/// A part of FXSAVE's image.
Register of_image(std::string name, unsigned bits, std::string_view type, size_t offset) {
    return {std::move(name), bits, type, [bits, offset](const CpuState& state) {
                const uint8_t* start = state.fx.bytes.data() + offset;
                return Bytes(start, start + bits / 8);
            }};
}

/// FXSAVE keeps a bit for each x87 register; the tag word has two.
uint64_t full_tags(const CpuState& state) {
    uint64_t tags = 0;
    for (unsigned i = 0; i < 8; ++i)
        if (!(state.fx.bytes[4] >> i & 1)) tags |= uint64_t{3} << 2 * i;
    return tags;
}

Feature core() {
    Feature feature{"org.gnu.gdb.i386.core", "", {}};
    auto add = [&](Register one) { feature.registers.push_back(std::move(one)); };
    constexpr std::pair<const char*, cpu::Gpr> kGeneral[] = {
        {"rax", cpu::kRax}, {"rbx", cpu::kRbx}, {"rcx", cpu::kRcx}, {"rdx", cpu::kRdx},
        {"rsi", cpu::kRsi}, {"rdi", cpu::kRdi}, {"rbp", cpu::kRbp}, {"rsp", cpu::kRsp},
        {"r8", cpu::kR8},   {"r9", cpu::kR9},   {"r10", cpu::kR10}, {"r11", cpu::kR11},
        {"r12", cpu::kR12}, {"r13", cpu::kR13}, {"r14", cpu::kR14}, {"r15", cpu::kR15}};
    for (auto [name, place] : kGeneral) {
        bool pointer = place == cpu::kRsp || place == cpu::kRbp;
        add(of_number(name, 64, pointer ? "data_ptr" : "int64",
                      [place = place](const CpuState& state) { return state.gpr[place]; }));
    }
    add(of_number("rip", 64, "code_ptr", [](const CpuState& state) { return state.rip; }));
    add(of_number("eflags", 32, "int32", [](const CpuState& state) { return state.rflags; }));
    constexpr std::pair<const char*, cpu::Segment> kSegments[] = {{"cs", cpu::kCs}, {"ss", cpu::kSs},
                                                                  {"ds", cpu::kDs}, {"es", cpu::kEs},
                                                                  {"fs", cpu::kFs}, {"gs", cpu::kGs}};
    for (auto [name, place] : kSegments)
        add(of_number(name, 32, "int32",
                      [place = place](const CpuState& state) { return state.segments[place].selector; }));
    for (unsigned i = 0; i < 8; ++i) add(of_image(fmt::format("st{}", i), 80, "i387_ext", 32 + 16 * i));
    auto half = [](size_t offset) {
        return [offset](const CpuState& state) -> uint64_t {
            return state.fx.bytes[offset] | state.fx.bytes[offset + 1] << 8;
        };
    };
    add(of_number("fctrl", 32, "int", half(0)));
    add(of_number("fstat", 32, "int", half(2)));
    add(of_number("ftag", 32, "int", full_tags));
    for (const char* name : {"fiseg", "fioff", "foseg", "fooff", "fop"})  // always zero, see cpu::FxState
        add(of_number(name, 32, "int", [](const CpuState&) { return 0; }));
    return feature;
}

Feature vectors() {
    Feature feature{"org.gnu.gdb.i386.sse",
                    "<vector id=\"v4f\" type=\"ieee_single\" count=\"4\"/>"
                    "<vector id=\"v2d\" type=\"ieee_double\" count=\"2\"/>"
                    "<vector id=\"v16i8\" type=\"int8\" count=\"16\"/>"
                    "<vector id=\"v8i16\" type=\"int16\" count=\"8\"/>"
                    "<vector id=\"v4i32\" type=\"int32\" count=\"4\"/>"
                    "<vector id=\"v2i64\" type=\"int64\" count=\"2\"/>"
                    "<union id=\"vec128\">"
                    "<field name=\"v4_float\" type=\"v4f\"/><field name=\"v2_double\" type=\"v2d\"/>"
                    "<field name=\"v16_int8\" type=\"v16i8\"/><field name=\"v8_int16\" type=\"v8i16\"/>"
                    "<field name=\"v4_int32\" type=\"v4i32\"/><field name=\"v2_int64\" type=\"v2i64\"/>"
                    "<field name=\"uint128\" type=\"uint128\"/></union>",
                    {}};
    for (unsigned i = 0; i < 16; ++i)
        feature.registers.push_back(of_image(fmt::format("xmm{}", i), 128, "vec128", 160 + 16 * i));
    feature.registers.push_back(of_image("mxcsr", 32, "int", 24));
    return feature;
}

Feature segment_bases() {
    auto base = [](cpu::Segment place) {
        return [place](const CpuState& state) { return state.segments[place].base; };
    };
    return {
        "org.gnu.gdb.i386.segments",
        "",
        {of_number("fs_base", 64, "int", base(cpu::kFs)), of_number("gs_base", 64, "int", base(cpu::kGs))}};
}

/// What gdb has no names for.
Feature control() {
    auto add = [](const char* name, auto value) { return of_number(name, 64, "uint64", value); };
    return {"lockstep.control",
            "",
            {add("k_gs_base", [](const CpuState& state) { return state.kernel_gs_base; }),
             add("cr0", [](const CpuState& state) { return state.cr0; }),
             add("cr2", [](const CpuState& state) { return state.cr2; }),
             add("cr3", [](const CpuState& state) { return state.cr3; }),
             add("cr4", [](const CpuState& state) { return state.cr4; }),
             add("efer", [](const CpuState& state) { return state.efer; }),
             add("icount", [](const CpuState& state) { return state.icount.value(); })}};
}

const std::vector<Feature>& features() {
    static const std::vector<Feature> all = {core(), vectors(), segment_bases(), control()};
    return all;
}

}  // namespace

std::string target_description() {
    std::string text =
        "<?xml version=\"1.0\"?><!DOCTYPE target SYSTEM \"gdb-target.dtd\"><target>"
        "<architecture>i386:x86-64</architecture>";
    for (const Feature& feature : features()) {
        text += fmt::format("<feature name=\"{}\">{}", feature.name, feature.types);
        for (const Register& one : feature.registers)
            text +=
                fmt::format("<reg name=\"{}\" bitsize=\"{}\" type=\"{}\"/>", one.name, one.bits, one.type);
        text += "</feature>";
    }
    return text + "</target>";
}

Bytes registers_of(const CpuState& state) {
    Bytes all;
    for (const Feature& feature : features())
        for (const Register& one : feature.registers) {
            Bytes value = one.value(state);
            all.insert(all.end(), value.begin(), value.end());
        }
    return all;
}

Bytes register_of(const CpuState& state, size_t wanted) {
    for (const Feature& feature : features()) {
        if (wanted < feature.registers.size()) return feature.registers[wanted].value(state);
        wanted -= feature.registers.size();
    }
    return {};
}

}  // namespace lockstep::debug
