// SPDX-License-Identifier: Apache-2.0
#include "host/join_token.h"

#include <algorithm>
#include <charconv>

#include "base/foreign_text.h"
#include "base/hash.h"
#include "record/fields.h"

namespace lockstep::host {

namespace {

constexpr uint16_t kTokenVersion = 1;
constexpr size_t kLongestToken = 4096;
constexpr size_t kLongestName = 63;

Error bad_token() {
    return error("this is no whole token; copy the line that `lockstep cluster token` printed, all of it");
}

bool is_letter_or_digit(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

}  // namespace

std::string hex_text(ByteSpan bytes) {
    std::string text;
    for (uint8_t byte : bytes) text += fmt::format("{:02x}", byte);
    return text;
}

std::string token_text(const JoinToken& token) {
    Bytes fields;
    ByteWriter out(fields);
    record::write_fields(out, token);
    return token_text_of(fields);
}

std::string token_text_of(ByteSpan fields) {
    Bytes bytes;
    ByteWriter out(bytes);
    out.fixed(kTokenVersion);
    out.raw(fields);
    out.fixed(static_cast<uint32_t>(hash64(bytes)));
    return hex_text(bytes);
}

Result<JoinToken> parse_token(const std::string& text) {
    if (text.size() % 2 != 0 || text.size() > kLongestToken) return bad_token();
    Bytes bytes(text.size() / 2);
    for (size_t i = 0; i < bytes.size(); ++i) {
        const char* digits = text.data() + 2 * i;
        auto [end, problem] = std::from_chars(digits, digits + 2, bytes[i], 16);
        if (problem != std::errc() || end != digits + 2) return bad_token();
    }
    constexpr size_t kAround = sizeof kTokenVersion + sizeof(uint32_t);
    if (bytes.size() < kAround) return bad_token();
    ByteSpan content = ByteSpan(bytes).first(bytes.size() - sizeof(uint32_t));
    ByteReader sum(ByteSpan(bytes).last(sizeof(uint32_t))), in(content);
    if (sum.fixed<uint32_t>() != static_cast<uint32_t>(hash64(content))) return bad_token();
    if (in.fixed<uint16_t>() != kTokenVersion)
        return error("this token is of another version of Lockstep; install the same on both hosts");
    JoinToken token;
    if (!record::read_fields(in, token, "a token")) return bad_token();
    TRY(check_host_name(token.name));
    return token;
}

Result<void> check_host_name(const std::string& name) {
    bool good =
        !name.empty() && name.size() <= kLongestName && is_letter_or_digit(name.front()) &&
        is_letter_or_digit(name.back()) &&
        std::ranges::all_of(name, [](char c) { return is_letter_or_digit(c) || c == '-' || c == '.'; });
    if (good) return {};
    return error("'{}' can't be the name of a host: it is made of 1 to {} letters, digits, '.' and '-'",
                 foreign_text(name), kLongestName);
}

}  // namespace lockstep::host
