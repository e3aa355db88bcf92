// SPDX-License-Identifier: Apache-2.0
#include "host/network_device.h"

#include <fmt/format.h>
#include <linux/ethtool.h>
#include <linux/if_bridge.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>

#include "host/file_descriptor.h"

namespace lockstep::host {

namespace {

constexpr size_t kMostPorts = 1024;  // the kernel's bound of a bridge

/// The name, and room for what the ioctl puts beside it.
ifreq request_for(const std::string& device) {
    ifreq request{};
    device.copy(request.ifr_name, IFNAMSIZ - 1);
    return request;
}

FileDescriptor control_socket() { return FileDescriptor(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)); }

/// IFF_UP, IFF_RUNNING, ...; 0: there is no such device.
int flags_of(int control, const std::string& device) {
    ifreq request = request_for(device);
    return ioctl(control, SIOCGIFFLAGS, &request) < 0 ? 0 : request.ifr_flags;
}

}  // namespace

std::string driver_of(const std::string& device) {
    FileDescriptor control = control_socket();
    ethtool_drvinfo info{};
    info.cmd = ETHTOOL_GDRVINFO;
    ifreq request = request_for(device);
    request.ifr_data = reinterpret_cast<char*>(&info);
    if (ioctl(control.get(), SIOCETHTOOL, &request) < 0) return "";
    return {info.driver, strnlen(info.driver, sizeof info.driver)};
}

// Asked in the oldest way, which needs no right and sees this network namespace.
std::vector<int> ports_of(const std::string& bridge) {
    FileDescriptor control = control_socket();
    std::vector<int> ports(kMostPorts);
    unsigned long arguments[4] = {BRCTL_GET_PORT_LIST, reinterpret_cast<unsigned long>(ports.data()),
                                  ports.size(), 0};
    ifreq request = request_for(bridge);
    request.ifr_data = reinterpret_cast<char*>(arguments);
    if (ioctl(control.get(), SIOCDEVPRIVATE, &request) < 0) return {};
    std::erase(ports, 0);
    return ports;
}

std::string guest_link_fault(const std::string& tap, const std::string& bridge) {
    FileDescriptor control = control_socket();
    int index = static_cast<int>(if_nametoindex(tap.c_str()));
    if (index == 0) return fmt::format("the TAP device {} is gone", tap);
    if (!(flags_of(control.get(), tap) & IFF_UP)) return fmt::format("the TAP device {} is down", tap);
    if (bridge.empty()) return "";
    if (!(flags_of(control.get(), bridge) & IFF_UP))
        return fmt::format("the bridge {} is down or gone", bridge);
    std::vector<int> ports = ports_of(bridge);
    if (std::ranges::find(ports, index) == ports.end())
        return fmt::format("the TAP device {} is no port of the bridge {} any more", tap, bridge);
    std::string without_carrier;
    for (int port : ports) {
        char name[IF_NAMESIZE] = "";
        if (!if_indextoname(static_cast<unsigned>(port), name) || driver_of(name) == "tun") continue;
        int flags = flags_of(control.get(), name);
        if ((flags & IFF_UP) && (flags & IFF_RUNNING)) return "";
        without_carrier += (without_carrier.empty() ? "" : ", ") + std::string(name);
    }
    if (without_carrier.empty()) return "";
    return fmt::format("{} of the bridge {} has no carrier", without_carrier, bridge);
}

}  // namespace lockstep::host
