// SPDX-License-Identifier: Apache-2.0
#include "forms.h"

#include <array>
#include <cstdlib>

#include "base/check.h"
#include "cpu/cpu_state.h"
#include "oracle_native.h"

namespace lockstep::instructions {

namespace {

std::vector<std::string> split(std::string_view text, char separator) {
    std::vector<std::string> parts;
    while (!text.empty()) {
        size_t end = std::min(text.find(separator), text.size());
        if (end) parts.emplace_back(text.substr(0, end));
        text.remove_prefix(std::min(end + 1, text.size()));
    }
    return parts;
}

uint64_t flags_of(std::string_view letters) {
    uint64_t flags = 0;
    for (char letter : letters) {
        switch (letter) {
            case 'C':
                flags |= cpu::kFlagCf;
                break;
            case 'P':
                flags |= cpu::kFlagPf;
                break;
            case 'A':
                flags |= cpu::kFlagAf;
                break;
            case 'Z':
                flags |= cpu::kFlagZf;
                break;
            case 'S':
                flags |= cpu::kFlagSf;
                break;
            case 'O':
                flags |= cpu::kFlagOf;
                break;
            default:
                CHECK(false, "undefined flags {}", letters);
        }
    }
    return flags;
}

/// A row with the family words (fp, mx) already replaced.
struct PlainRow {
    std::string names, encoding, operands;
    const FormRow* row;
    Group group;
};

std::string replaced(std::string_view text, char from, std::string_view to) {
    std::string result;
    for (char c : text) c == from ? result += to : result += c;
    return result;
}

std::string with_suffix(std::string_view names, std::string_view suffix) {
    std::string result;
    for (const std::string& name : split(names, ' ')) result += name + std::string(suffix) + " ";
    return result;
}

std::vector<PlainRow> replace_families(const FormRow& row, Group group) {
    size_t space = row.encoding.find(' ');
    std::string_view word = row.encoding.substr(0, space);
    struct Member {
        const char *prefix, *suffix, *size;
        bool in_fp1, in_fp2;
    };
    constexpr std::array<Member, 4> kFloat{{{"", "ps", "x", true, true},
                                            {"66 ", "pd", "x", false, true},
                                            {"F3 ", "ss", "d", true, false},
                                            {"F2 ", "sd", "q", false, false}}};
    std::vector<PlainRow> rows;
    if (word == "mx") {
        std::string rest(row.encoding.substr(space + 1)), vector_operands;
        for (const std::string& operand : split(row.operands, ',')) {
            std::string changed = operand;
            if (changed[0] == 'P') changed = "Vx";
            if (changed[0] == 'Q') changed = "Wx";
            if (changed[0] == 'N') changed = "Ux";
            vector_operands += changed + ",";
        }
        rows.push_back({std::string(row.names), rest, std::string(row.operands), &row, group});
        rows.push_back({std::string(row.names), "66 " + rest, vector_operands, &row, group});
    } else if (word == "fp" || word == "fp1" || word == "fp2") {
        for (const Member& member : kFloat) {
            if ((word == "fp1" && !member.in_fp1) || (word == "fp2" && !member.in_fp2)) continue;
            rows.push_back({with_suffix(row.names, member.suffix),
                            member.prefix + std::string(row.encoding.substr(space + 1)),
                            replaced(row.operands, '?', member.size), &row, group});
        }
    } else if (word == "vfp" || word == "vfp2") {
        constexpr std::array<const char*, 4> kPrefixes{"AVX.NP.0F ", "AVX.66.0F ", "AVXS.F3.0F ",
                                                       "AVXS.F2.0F "};
        for (size_t i = 0; i < kFloat.size(); ++i) {
            if (word == "vfp2" && !kFloat[i].in_fp2) continue;
            rows.push_back({with_suffix(row.names, kFloat[i].suffix),
                            kPrefixes[i] + std::string(row.encoding.substr(space + 1)),
                            replaced(row.operands, '?', kFloat[i].size), &row, group});
        }
    } else {
        rows.push_back(
            {std::string(row.names), std::string(row.encoding), std::string(row.operands), &row, group});
    }
    return rows;
}

/// "C8+8" for the n-th name: 0xc8 + 8 * n. Steps are decimal.
int stepped(const std::string& token, int base, unsigned n) {
    size_t plus = token.find('+');
    int start = static_cast<int>(std::strtol(token.c_str() + (token[0] == '/'), nullptr, base));
    return plus == std::string::npos ? start
                                     : start + static_cast<int>(n) * std::atoi(token.c_str() + plus + 1);
}

OpcodeMap map_of(std::string_view name) {
    if (name == "0F") return OpcodeMap::k0F;
    if (name == "0F38") return OpcodeMap::k0F38;
    CHECK(name == "0F3A", "{}", name);
    return OpcodeMap::k0F3A;
}

VectorLength length_of(std::string_view name) {
    return name == "AVX"      ? VectorLength::kEither
           : name == "AVX128" ? VectorLength::k128
           : name == "AVX256" ? VectorLength::k256
           : name == "AVXS"   ? VectorLength::kScalar
                              : VectorLength::kNone;
}

void parse_prefixes(std::vector<std::string>& tokens, Form& form) {
    auto take = [&] { tokens.erase(tokens.begin()); };
    if (tokens[0].starts_with("VEX.") || tokens[0].starts_with("AVX")) {
        std::vector<std::string> parts = split(tokens[0], '.');
        form.vex = true;
        form.length = length_of(parts[0]);
        form.prefix = parts[1] == "NP" ? 0 : static_cast<uint8_t>(std::strtol(parts[1].c_str(), nullptr, 16));
        form.map = map_of(parts[2]);
        take();
        form.wide = tokens[0] == "W";
        if (form.wide) take();
        return;
    }
    if (tokens.size() > 1 && (tokens[0] == "66" || tokens[0] == "F2" || tokens[0] == "F3")) {
        form.prefix = static_cast<uint8_t>(std::strtol(tokens[0].c_str(), nullptr, 16));
        take();
    }
    if (tokens[0] == "W") {
        form.wide = true;
        take();
    }
    if (tokens[0] != "0F") return;
    form.map = OpcodeMap::k0F;
    take();
    if (tokens.size() > 1 && (tokens[0] == "38" || tokens[0] == "3A")) {
        form.map = tokens[0] == "38" ? OpcodeMap::k0F38 : OpcodeMap::k0F3A;
        take();
    }
}

Operand parse_operand(const std::string& text) {
    if (text == "AL") return {'a', 'b'};
    if (text == "rAX" || text == "rAXv") return {'a', 'v'};
    if (text == "CL") return {'c', 'b'};
    if (text == "1") return {'1', 'b'};
    if (text == "STi") return {'i', 't'};
    if (text.size() == 1) return {'a', text[0]};  // string instructions: the size alone
    return {text[0], text[1]};
}

Form make_form(const PlainRow& plain, const std::string& name, unsigned n) {
    Form form;
    form.name = name + (plain.operands.empty() ? "" : " " + plain.operands);
    if (form.name.back() == ',') form.name.pop_back();
    form.group = plain.group;
    form.undefined_flags = flags_of(plain.row->undefined);
    form.tags = plain.row->tags;
    std::vector<std::string> tokens = split(plain.encoding, ' ');
    parse_prefixes(tokens, form);
    form.opcode = static_cast<uint8_t>(stepped(tokens[0], 16, n));
    if (tokens.size() > 1) {
        if (tokens[1][0] == '/')
            form.digit = stepped(tokens[1], 10, n);
        else
            form.fixed_modrm = stepped(tokens[1], 16, n);
    }
    for (const std::string& operand : split(plain.operands, ','))
        form.operands.push_back(parse_operand(operand));
    return form;
}

void add_forms(std::span<const FormRow> rows, Group group, std::vector<Form>& out) {
    for (const FormRow& row : rows)
        for (const PlainRow& plain : replace_families(row, group)) {
            unsigned n = 0;
            for (const std::string& name : split(plain.names, ' '))
                out.push_back(make_form(plain, name, n++));
        }
}

}  // namespace

const Operand* Form::rm() const {
    for (const Operand& operand : operands)
        if (std::string_view("EMRWUQNY").find(operand.kind) != std::string_view::npos) return &operand;
    return nullptr;
}

const std::vector<Form>& forms() {
    static const std::vector<Form> all = [] {
        std::vector<Form> out;
        add_forms(integer_rows(), Group::kInteger, out);
        add_forms(vector_rows(), Group::kVector, out);
        add_forms(x87_rows(), Group::kX87, out);
        add_forms(system_rows(), Group::kSystem, out);
        if (host_has_avx()) add_forms(avx_rows(), Group::kVector, out);
        return out;
    }();
    return all;
}

}  // namespace lockstep::instructions
