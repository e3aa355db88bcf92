// SPDX-License-Identifier: Apache-2.0
#include "debug/gdb_wire.h"

#include <fmt/format.h>

#include <charconv>
#include <numeric>

namespace lockstep::debug {

namespace {

constexpr char kInterruptByte = 3;
constexpr char kEscape = '}', kEscapeBit = 0x20;
/// "#" and two digits.
constexpr size_t kTail = 3;

uint8_t checksum(std::string_view text) {
    return static_cast<uint8_t>(std::accumulate(text.begin(), text.end(), 0u, [](unsigned sum, char byte) {
        return sum + static_cast<uint8_t>(byte);
    }));
}

std::string without_escapes(std::string_view text) {
    std::string plain;
    for (size_t i = 0; i < text.size(); ++i) {
        bool escaped = text[i] == kEscape && i + 1 < text.size();
        plain += escaped ? static_cast<char>(text[++i] ^ kEscapeBit) : text[i];
    }
    return plain;
}

}  // namespace

std::optional<GdbEvent> GdbReader::next() {
    while (!buffer_.empty()) {
        char first = buffer_.front();
        if (first == '$') break;
        buffer_.erase(0, 1);
        if (first == kInterruptByte) return GdbEvent{GdbEvent::What::kInterrupt, {}};
        if (first == '-') return GdbEvent{GdbEvent::What::kNotReceived, {}};
    }
    size_t end = buffer_.find('#');
    if (end == std::string::npos || buffer_.size() < end + kTail) return std::nullopt;
    std::string text = buffer_.substr(1, end - 1);
    std::string_view digits = std::string_view(buffer_).substr(end + 1, 2);
    std::optional<Bytes> sum = bytes_of_hex(digits);
    buffer_.erase(0, end + kTail);
    if (!sum || sum->front() != checksum(text)) return GdbEvent{GdbEvent::What::kBadChecksum, {}};
    return GdbEvent{GdbEvent::What::kPacket, without_escapes(text)};
}

bool GdbReader::take_interrupt() {
    size_t at = buffer_.find(kInterruptByte);
    if (at == std::string::npos) return false;
    buffer_.erase(at, 1);
    return true;
}

std::string gdb_packet(std::string_view text) {
    std::string escaped;
    for (char byte : text) {
        bool special = byte == '$' || byte == '#' || byte == kEscape || byte == '*';
        if (special) escaped += kEscape;
        escaped += special ? static_cast<char>(byte ^ kEscapeBit) : byte;
    }
    return fmt::format("${}#{:02x}", escaped, checksum(escaped));
}

std::string hex_of(ByteSpan bytes) {
    std::string text;
    text.reserve(2 * bytes.size());
    for (uint8_t byte : bytes) fmt::format_to(std::back_inserter(text), "{:02x}", byte);
    return text;
}

std::optional<Bytes> bytes_of_hex(std::string_view text) {
    if (text.size() % 2) return std::nullopt;
    Bytes bytes;
    for (size_t i = 0; i < text.size(); i += 2) {
        uint8_t byte = 0;
        auto [end, problem] = std::from_chars(text.data() + i, text.data() + i + 2, byte, 16);
        if (problem != std::errc() || end != text.data() + i + 2) return std::nullopt;
        bytes.push_back(byte);
    }
    return bytes;
}

std::optional<uint64_t> take_hex(std::string_view& text) {
    uint64_t number = 0;
    auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), number, 16);
    if (problem != std::errc()) return std::nullopt;
    text.remove_prefix(static_cast<size_t>(end - text.data()));
    return number;
}

bool take_text(std::string_view& text, std::string_view what) {
    if (!text.starts_with(what)) return false;
    text.remove_prefix(what.size());
    return true;
}

}  // namespace lockstep::debug
