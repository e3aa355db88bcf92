// SPDX-License-Identifier: Apache-2.0
// Addresses of TCP and UDP sockets.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <string>

#include "base/result.h"

namespace lockstep::host {

struct SocketAddress {
    sockaddr_storage storage{};
    socklen_t length = 0;

    /// "10.0.0.1:7000", "[fd00::1]:7000", "host-a:7000"; ":7000" is any address of this host. A name is
    /// looked up at once, which may block.
    static Result<SocketAddress> parse(const std::string& text);

    const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
    sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
    int family() const { return storage.ss_family; }
    uint16_t port() const;
    /// Any address of this host: good to listen at, and leads nowhere.
    bool is_any() const;
    std::string text() const;
    /// Without port and brackets.
    std::string ip_text() const;
};

}  // namespace lockstep::host
