// SPDX-License-Identifier: Apache-2.0
#include "vmm/host_list.h"

#include <sys/socket.h>

#include <algorithm>

#include "host/address.h"
#include "host/file_descriptor.h"
#include "host/sockets.h"

namespace lockstep::vmm {

namespace {

/// Whether an address is one of this host's: only then can a socket be bound to it.
bool is_local(const std::string& address) {
    Result<host::SocketAddress> parsed =
        host::SocketAddress::parse(address.substr(0, address.rfind(':')) + ":0");
    if (!parsed) return false;
    host::FileDescriptor socket(::socket(parsed.value().family(), SOCK_DGRAM | SOCK_CLOEXEC, 0));
    return socket && ::bind(socket.get(), parsed.value().get(), parsed.value().length) == 0;
}

/// Whether an entry of protection.hosts leads to the daemon that listens at `listen`.
bool leads_to(const std::string& entry, const std::string& listen) {
    if (entry == listen) return true;
    Result<host::SocketAddress> wanted = host::SocketAddress::parse(entry);
    Result<host::SocketAddress> there = host::SocketAddress::parse(listen);
    if (!wanted || !there) return false;
    if (there.value().is_any()) return wanted.value().port() == there.value().port() && is_local(entry);
    return wanted.value().text() == there.value().text();
}

/// `this_host` empty: by the addresses that this host has.
bool is_here(const std::string& entry, const std::string& this_host) {
    return this_host.empty() ? is_local(entry) : leads_to(entry, this_host);
}

std::string joined(const std::vector<std::string>& texts) {
    std::string all;
    for (const std::string& text : texts) all += (all.empty() ? "" : ", ") + text;
    return all;
}

}  // namespace

Result<std::vector<std::string>> hosts_beside_owner(const std::vector<std::string>& hosts,
                                                    const std::string& this_host) {
    std::vector<std::string> others, here;
    for (const std::string& entry : hosts)
        is_here(entry, this_host) ? here.push_back(entry) : others.push_back(entry);
    if (hosts.empty() || here.size() == 1) return others;
    if (!this_host.empty())
        return error("the host {} isn't in protection.hosts ({}); add it, or give `--host` one of them",
                     this_host, joined(hosts));
    if (here.empty())
        return error(
            "none of protection.hosts ({}) is an address of this host; add this host's, or say with `--host` "
            "which it is",
            joined(hosts));
    return error("several of protection.hosts ({}) are addresses of this host; say with `--host` which it is",
                 joined(here));
}

std::vector<std::string> hosts_beside_backup(const std::vector<std::string>& hosts,
                                             const std::string& listen) {
    std::vector<std::string> others = hosts;
    std::erase_if(others, [&](const std::string& entry) { return leads_to(entry, listen); });
    return others;
}

std::string name_of_host(const std::vector<std::string>& hosts, const std::string& this_host) {
    auto here =
        std::ranges::find_if(hosts, [&](const std::string& entry) { return is_here(entry, this_host); });
    if (here != hosts.end()) return *here;
    return this_host.empty() ? host::own_name() : this_host;
}

}  // namespace lockstep::vmm
