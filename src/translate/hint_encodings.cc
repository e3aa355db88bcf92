// SPDX-License-Identifier: Apache-2.0
#include "translate/hint_encodings.h"

#include <algorithm>

namespace lockstep::translate {

namespace {

constexpr uint8_t kTwoBytes = 0x0f, kNop = 0x1f, kExchange = 0x90, kRepeat = 0xf3, kRepeatNot = 0xf2,
                  kDataSegment = 0x3e, kLoopNot = 0xe0, kLoopEqual = 0xe1;

bool is_legacy_prefix(uint8_t byte) {
    switch (byte) {
        case 0x26:
        case 0x2e:
        case 0x36:
        case 0x3e:
        case 0x64:
        case 0x65:
        case 0x66:
        case 0x67:
        case 0xf0:
        case 0xf2:
        case 0xf3:
            return true;
        default:
            return false;
    }
}

bool is_rex(uint8_t byte) { return (byte & 0xf0) == 0x40; }

/// Of 0F 18 with this ModRM.
bool is_prefetch(uint8_t modrm) { return modrm < 0xc0 && (modrm >> 3 & 7) < 4; }

}  // namespace

std::span<const uint8_t> as_executed(std::span<const uint8_t> bytes, cpu::CodeWidth width,
                                     InstructionBytes& room) {
    bool has_rex = width == cpu::CodeWidth::k64;
    bytes = bytes.first(std::min(bytes.size(), room.size()));
    size_t at = 0;
    uint8_t rex = 0;  // what stands right before the opcode
    bool repeat = false;
    uint8_t last_repeat = 0;
    for (; at < bytes.size() && (is_legacy_prefix(bytes[at]) || (has_rex && is_rex(bytes[at]))); ++at) {
        rex = is_rex(bytes[at]) ? bytes[at] : 0;
        repeat |= bytes[at] == kRepeat;
        if (bytes[at] == kRepeat || bytes[at] == kRepeatNot) last_repeat = bytes[at];
    }
    auto byte = [&](size_t offset) { return at + offset < bytes.size() ? bytes[at + offset] : 0; };
    bool hint = byte(0) == kTwoBytes && (byte(1) & 0xf8) == 0x18 &&
                !(byte(1) == 0x18 && at + 2 < bytes.size() && is_prefetch(byte(2)));
    bool exchange = byte(0) == kExchange && repeat && (rex & 1);
    bool loop = last_repeat && (byte(0) == kLoopNot || byte(0) == kLoopEqual);
    if (!hint && !exchange && !loop) return bytes;
    std::copy(bytes.begin(), bytes.end(), room.begin());
    if (loop) room[at] = last_repeat == kRepeat ? kLoopEqual : kLoopNot;
    if (hint) room[at + 1] = kNop;
    if (exchange) std::replace(room.begin(), room.begin() + static_cast<int64_t>(at), kRepeat, kDataSegment);
    return std::span(room).first(bytes.size());
}

}  // namespace lockstep::translate
