// SPDX-License-Identifier: Apache-2.0
#include "host/address.h"

#include <netdb.h>
#include <netinet/in.h>

#include <cstring>

namespace lockstep::host {

namespace {

struct HostAndPort {
    std::string host;
    std::string port;
};

Result<HostAndPort> split(const std::string& text) {
    size_t colon = text.rfind(':');
    if (colon == std::string::npos || colon + 1 == text.size())
        return error("the address '{}' names no port; write it like 10.0.0.1:7000", text);
    HostAndPort parts{text.substr(0, colon), text.substr(colon + 1)};
    bool number = parts.port.size() <= 5 && parts.port.find_first_not_of("0123456789") == std::string::npos;
    if (!number || std::stoul(parts.port) > UINT16_MAX)
        return error("'{}' in the address '{}' is no port; use a number up to 65535", parts.port, text);
    bool bracketed = parts.host.size() > 2 && parts.host.front() == '[' && parts.host.back() == ']';
    if (bracketed) parts.host = parts.host.substr(1, parts.host.size() - 2);
    if (!bracketed && parts.host.find(':') != std::string::npos)
        return error("the IPv6 address in '{}' needs brackets; write it like [fd00::1]:7000", text);
    return parts;
}

}  // namespace

Result<SocketAddress> SocketAddress::parse(const std::string& text) {
    HostAndPort parts = TRY(split(text));
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = AI_NUMERICSERV | (parts.host.empty() ? AI_PASSIVE : 0);
    if (parts.host.empty()) hints.ai_family = AF_INET;
    addrinfo* found = nullptr;
    int failure =
        getaddrinfo(parts.host.empty() ? nullptr : parts.host.c_str(), parts.port.c_str(), &hints, &found);
    if (failure != 0) {
        return error(
            "the host '{}' of the address '{}' can't be found ({}); check the name, or write a numeric "
            "address",
            parts.host, text, gai_strerror(failure));
    }
    SocketAddress address;
    std::memcpy(&address.storage, found->ai_addr, found->ai_addrlen);
    address.length = found->ai_addrlen;
    freeaddrinfo(found);
    return address;
}

uint16_t SocketAddress::port() const {
    if (family() == AF_INET6) return ntohs(reinterpret_cast<const sockaddr_in6*>(&storage)->sin6_port);
    return ntohs(reinterpret_cast<const sockaddr_in*>(&storage)->sin_port);
}

bool SocketAddress::is_any() const {
    if (family() == AF_INET6)
        return IN6_IS_ADDR_UNSPECIFIED(&reinterpret_cast<const sockaddr_in6*>(&storage)->sin6_addr);
    return reinterpret_cast<const sockaddr_in*>(&storage)->sin_addr.s_addr == INADDR_ANY;
}

std::string SocketAddress::ip_text() const {
    std::string whole = text();
    std::string ip = whole.substr(0, whole.rfind(':'));
    return ip.starts_with('[') ? ip.substr(1, ip.size() - 2) : ip;
}

std::string SocketAddress::text() const {
    char host[NI_MAXHOST] = "";
    if (getnameinfo(get(), length, host, sizeof host, nullptr, 0, NI_NUMERICHOST) != 0) return "(no address)";
    return family() == AF_INET6 ? fmt::format("[{}]:{}", host, port()) : fmt::format("{}:{}", host, port());
}

}  // namespace lockstep::host
