// SPDX-License-Identifier: Apache-2.0
#include "base/foreign_text.h"

#include <cstdint>

namespace lockstep {

namespace {

constexpr std::string_view kCut = "...";

struct Character {
    uint32_t code = 0;
    size_t bytes = 0;  // 0: no UTF-8
};

/// The first character of `text`, which isn't empty (RFC 3629: the shortest form, no surrogates).
Character first_character(std::string_view text) {
    auto byte = [text](size_t at) { return static_cast<uint8_t>(text[at]); };
    if (byte(0) < 0x80) return {byte(0), 1};
    size_t bytes = byte(0) >= 0xf0 ? 4 : (byte(0) >= 0xe0 ? 3 : 2);
    if (byte(0) < 0xc2 || byte(0) > 0xf4 || text.size() < bytes) return {};
    uint32_t code = byte(0) & (0x7fu >> bytes);
    for (size_t i = 1; i < bytes; ++i) {
        if ((byte(i) & 0xc0) != 0x80) return {};
        code = code << 6 | (byte(i) & 0x3fu);
    }
    bool too_long = (bytes == 3 && code < 0x800) || (bytes == 4 && code < 0x10000);
    bool surrogate = code >= 0xd800 && code <= 0xdfff;
    if (too_long || surrogate || code > 0x10ffff) return {};
    return {code, bytes};
}

bool is_blank(uint32_t code) { return code == '\n' || code == '\r' || code == '\t' || code == 0x85; }

/// Control characters, and those that format: line separators, marks of direction, of no width.
bool is_left_out(uint32_t code) {
    return code < 0x20 || (code >= 0x7f && code < 0xa0) || (code >= 0x200b && code <= 0x200f) ||
           (code >= 0x2028 && code <= 0x202e) || (code >= 0x2060 && code <= 0x206f) || code == 0xfeff;
}

}  // namespace

std::string foreign_text(std::string_view text) {
    std::string clean;
    size_t characters = 0, cut_at = 0;
    while (!text.empty()) {
        Character next = first_character(text);
        std::string_view bytes = next.bytes ? text.substr(0, next.bytes) : "?";
        text.remove_prefix(next.bytes ? next.bytes : 1);
        if (next.bytes && is_blank(next.code))
            bytes = " ";
        else if (next.bytes && is_left_out(next.code))
            continue;
        if (characters == kLongestForeignText) return clean.substr(0, cut_at).append(kCut);
        if (characters++ == kLongestForeignText - kCut.size()) cut_at = clean.size();
        clean += bytes;
    }
    return clean;
}

}  // namespace lockstep
