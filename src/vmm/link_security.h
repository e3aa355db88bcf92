// SPDX-License-Identifier: Apache-2.0
// How this host's links to others are secured.
#pragma once

#include <cstdint>
#include <string>

namespace lockstep::vmm {

enum class Security : uint8_t {
    kTls,       ///< both sides are members of one cluster, and nobody else can read or write
    kInsecure,  ///< for a laboratory: whoever reaches a port is believed
};

struct LinkSecurity {
    Security kind = Security::kTls;
    std::string folder;  ///< of this host's identity (host/identity.h)
};

}  // namespace lockstep::vmm
