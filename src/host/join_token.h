// SPDX-License-Identifier: Apache-2.0
// What lets a host join its cluster, once: a line to be copied from one terminal to another.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "host/certificates.h"

namespace lockstep::host {

using TokenId = std::array<uint8_t, 8>;
using TokenSecret = std::array<uint8_t, 16>;

struct JoinToken {
    std::string name;                    ///< of the host that may join
    std::vector<std::string> addresses;  ///< of the authority's daemon
    Fingerprint authority{};             ///< of its certificate, by which the joining host knows it
    TokenId id{};
    TokenSecret secret{};
    uint64_t until_s = 0;

    template <typename Codec>
    void fields(Codec& codec) {
        codec(name, addresses, authority, id, secret, until_s);
    }
};

/// Hexadecimal digits, with a checksum: a digit that is missing or wrong shows at once.
std::string token_text(const JoinToken& token);
Result<JoinToken> parse_token(const std::string& text);
/// The same of a token's fields as they are written: for tests of the reader.
std::string token_text_of(ByteSpan fields);

std::string hex_text(ByteSpan bytes);

/// Names of hosts: 1 to 63 letters, digits, dots and hyphens, with a letter or digit at both ends.
Result<void> check_host_name(const std::string& name);

}  // namespace lockstep::host
