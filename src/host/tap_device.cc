// SPDX-License-Identifier: Apache-2.0
#include "host/tap_device.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "base/check.h"
#include "base/log.h"
#include "host/network_device.h"

namespace lockstep::host {

namespace {

constexpr unsigned long kAllOffloads = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;
constexpr size_t kBuffersField = 10;  // in the virtio header: num_buffers
constexpr uint64_t kFirstPauseNs = 50 * kNsPerMs;
constexpr uint64_t kPauseGrowthNs = 100 * kNsPerMs;

Result<FileDescriptor> open_tun(const std::string& name) {
    FileDescriptor tap(open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC));
    if (tap) return tap;
    if (errno == ENOENT || errno == ENODEV || errno == ENXIO)
        return error("network {}: this host has no /dev/net/tun; load it with 'modprobe tun'", name);
    return error(
        "network {}: /dev/net/tun can't be opened ({}); run as root, or give this user the right to it", name,
        std::strerror(errno));
}

Error no_right_to_tap(const std::string& name) {
    return error(
        "network {}: this user may not use the TAP device; run with CAP_NET_ADMIN (as root), or make the "
        "device "
        "for the user with 'ip tuntap add dev {} mode tap user $USER'",
        name, name);
}

Error no_tap(const std::string& name) {
    return error("network {}: a device of that name exists and is no TAP device; choose another name", name);
}

Error no_such_bridge(const std::string& name, const std::string& bridge) {
    return error("network {}: there is no bridge {}; make it with 'ip link add {} type bridge'", name, bridge,
                 bridge);
}

Error is_no_bridge(const std::string& name, const std::string& bridge) {
    return error("network {}: {} is no bridge; name one, or remove the key", name, bridge);
}

Result<void> attach(int tap, const std::string& name) {
    ifreq request{};
    name.copy(request.ifr_name, IFNAMSIZ - 1);
    request.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
    if (ioctl(tap, TUNSETIFF, &request) == 0) return {};
    switch (errno) {
        case EPERM:
        case EACCES:
            return no_right_to_tap(name);
        case EBUSY:
            return error("network {}: another process holds the TAP device; stop it, or choose another name",
                         name);
        case EINVAL:
            return no_tap(name);
        case ENOTTY:
            return error(
                "network {}: /dev/net/tun isn't the TUN driver's; make it anew with 'mknod /dev/net/tun c 10 "
                "200'",
                name);
        default:
            return error("network {}: the TAP device can't be made ({}); look at the kernel's log (dmesg)",
                         name, std::strerror(errno));
    }
}

/// The header's size is set, and whether the kernel knows the offloads is found out: a backup must not turn
/// out to be unable to serve when it goes live.
Result<void> set_headers(int tap, const std::string& name) {
    int size = TapDevice::kHeader;
    bool ok = ioctl(tap, TUNSETVNETHDRSZ, &size) == 0 && ioctl(tap, TUNSETOFFLOAD, kAllOffloads) == 0 &&
              ioctl(tap, TUNSETOFFLOAD, 0) == 0;
    if (ok) return {};
    return error(
        "network {}: this kernel's TAP devices don't do virtio headers and offloads ({}); use a newer one",
        name, std::strerror(errno));
}

Result<void> bring_up(int control, const std::string& name) {
    ifreq request{};
    name.copy(request.ifr_name, IFNAMSIZ - 1);
    bool ok = ioctl(control, SIOCGIFFLAGS, &request) == 0;
    if (ok && (request.ifr_flags & IFF_UP)) return {};
    request.ifr_flags |= IFF_UP;
    if (ok && ioctl(control, SIOCSIFFLAGS, &request) == 0) return {};
    return error("network {}: the TAP device can't be brought up ({}); do it with 'ip link set {} up'", name,
                 std::strerror(errno), name);
}

bool is_port_of(const std::string& bridge, int index) {
    std::vector<int> ports = ports_of(bridge);
    return std::ranges::find(ports, index) != ports.end();
}

Result<void> join_bridge(int control, const std::string& name, const std::string& bridge) {
    if (if_nametoindex(bridge.c_str()) == 0) return no_such_bridge(name, bridge);
    ifreq request{};
    bridge.copy(request.ifr_name, IFNAMSIZ - 1);
    request.ifr_ifindex = static_cast<int>(if_nametoindex(name.c_str()));
    if (ioctl(control, SIOCBRADDIF, &request) == 0) return {};
    int why = errno;
    if (is_port_of(bridge, request.ifr_ifindex)) return {};
    if (why == EBUSY)
        return error(
            "network {}: it is a port of another bridge than {}; take it out with 'ip link set {} nomaster', "
            "or name that bridge",
            name, bridge, name);
    if (why == EOPNOTSUPP) return is_no_bridge(name, bridge);
    return error("network {}: can't become a port of bridge {} ({}); do it with 'ip link set {} master {}'",
                 name, bridge, std::strerror(why), name, bridge);
}

/// Whether this process may make devices and join them to bridges.
bool may_administer() {
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {};
    if (syscall(SYS_capget, &header, data) != 0) return true;  // it will show
    return data[0].effective & (1u << CAP_NET_ADMIN);
}

}  // namespace

Result<void> check_tap(const TapOptions& options) {
    TRY(check_device_name(options.name, "TAP device"));
    TRY(open_tun(options.name));
    bool exists = if_nametoindex(options.name.c_str()) != 0;
    if (exists && driver_of(options.name) != "tun") return no_tap(options.name);
    if (!exists && !may_administer()) return no_right_to_tap(options.name);
    if (options.bridge.empty()) return {};
    TRY(check_device_name(options.bridge, "bridge"));
    if (if_nametoindex(options.bridge.c_str()) == 0) return no_such_bridge(options.name, options.bridge);
    if (driver_of(options.bridge) != "bridge") return is_no_bridge(options.name, options.bridge);
    return {};
}

Result<void> check_device_name(const std::string& name, const char* what) {
    if (!name.empty() && name.size() < IFNAMSIZ && name.find_first_of("/ %") == std::string::npos) return {};
    return error("'{}' can't be the name of a {}; use 1 to {} characters without '/', '%' and blanks", name,
                 what, IFNAMSIZ - 1);
}

Result<MacAddress> parse_mac(const std::string& text) {
    MacAddress mac{};
    int used = 0;
    int fields = std::sscanf(text.c_str(), "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx%n", &mac[0], &mac[1], &mac[2],
                             &mac[3], &mac[4], &mac[5], &used);
    if (fields != 6 || static_cast<size_t>(used) != text.size())
        return error("'{}' is no MAC address; write it like 52:54:00:12:34:56", text);
    if (mac[0] & 1)
        return error("the MAC address {} is a group address; use one whose first byte is even", text);
    if (mac == MacAddress{})
        return error("the MAC address {} stands for none; write one like 52:54:00:12:34:56", text);
    return mac;
}

std::string mac_text(const MacAddress& mac) {
    return fmt::format("{:02x}:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", mac[0], mac[1], mac[2], mac[3], mac[4],
                       mac[5]);
}

Result<std::unique_ptr<TapDevice>> TapDevice::create(EventLoop& loop, const TapOptions& options,
                                                     FrameRing* ring) {
    TRY(check_device_name(options.name, "TAP device"));
    if (!options.bridge.empty()) TRY(check_device_name(options.bridge, "bridge"));
    FileDescriptor tap = TRY(open_tun(options.name));
    TRY(attach(tap.get(), options.name));
    TRY(set_headers(tap.get(), options.name));
    FileDescriptor control(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    if (!options.bridge.empty()) TRY(join_bridge(control.get(), options.name, options.bridge));
    TRY(bring_up(control.get(), options.name));
    return std::unique_ptr<TapDevice>(new TapDevice(loop, std::move(tap), options.name, ring));
}

// A batch lives in the ring as a whole, which may begin again in the midst of it.
static_assert(TapDevice::kBatchBytes + 3 * FrameRing::kLargest <= FrameRing::kBytes &&
              TapDevice::kBatch < FrameRing::kMostFrames);

TapDevice::TapDevice(EventLoop& loop, FileDescriptor tap, std::string name, FrameRing* ring)
    : loop_(loop),
      tap_(std::move(tap)),
      name_(std::move(name)),
      own_ring_(ring ? nullptr : std::make_unique<FrameRing>()),
      ring_(ring ? ring : own_ring_.get()),
      watch_(loop.watch(tap_.get(), Interest::kNone, [this](Ready) { receive(); })) {}

void TapDevice::set_receiver(Receiver receiver) {
    constexpr int kMostStale = 10'000;  // more than the queue holds: never endless under a flood
    for (int i = 0; i < kMostStale && read_packet(tap_.get(), ring_->room()) > 0; i++) {
    }
    receiver_ = std::move(receiver);
    watch_.set_interest(Interest::kRead);
}

void TapDevice::pause_receiving() { watch_.set_interest(Interest::kNone); }

void TapDevice::resume_receiving() {
    if (receiver_) watch_.set_interest(Interest::kRead);
}

ssize_t TapDevice::read_packet(int tap, std::span<uint8_t> room) {
    ssize_t size;
    do {
        size = ::read(tap, room.data(), room.size());
    } while (size < 0 && errno == EINTR);
    if (size < 0) return errno == EAGAIN ? 0 : -1;
    if (size <= static_cast<ssize_t>(kHeader)) return 0;
    // The kernel leaves the header's last field as it was.
    std::fill(room.begin() + kBuffersField, room.begin() + kHeader, uint8_t{0});
    return size;
}

void TapDevice::receive() {
    batch_.clear();
    size_t used = 0;
    while (batch_.size() < kBatch && used < kBatchBytes) {
        ssize_t size = read_packet(tap_.get(), ring_->room());
        if (size < 0) {
            log_error("network {}: receiving failed: {}; was the device deleted?", name_,
                      std::strerror(errno));
            watch_.set_interest(Interest::kNone);
        }
        if (size <= 0) break;
        batch_.push_back(ring_->keep(static_cast<size_t>(size)));
        used += static_cast<size_t>(size);
        counters_.frames_in++;
        counters_.bytes_in += static_cast<uint64_t>(size) - kHeader;
    }
    if (!batch_.empty()) receiver_(batch_);
}

void TapDevice::set_offloads(const Offloads& offloads) {
    unsigned long flags = (offloads.checksum ? TUN_F_CSUM : 0) | (offloads.tcp4 ? TUN_F_TSO4 : 0) |
                          (offloads.tcp6 ? TUN_F_TSO6 : 0) | (offloads.ecn ? TUN_F_TSO_ECN : 0);
    if (ioctl(tap_.get(), TUNSETOFFLOAD, flags) < 0)
        log_error("network {}: the kernel doesn't take the guest's offloads: {}; set offloads = false", name_,
                  std::strerror(errno));
}

void TapDevice::send(std::span<const ByteSpan> packets) {
    for (ByteSpan packet : packets) send_packet(packet);
}

void TapDevice::send_packet(ByteSpan packet) {
    ssize_t sent;
    do {
        sent = ::write(tap_.get(), packet.data(), packet.size());
    } while (sent < 0 && errno == EINTR);
    if (sent < 0) {
        counters_.dropped_out++;
        return;
    }
    counters_.frames_out++;
    counters_.bytes_out += packet.size() - kHeader;
}

void TapDevice::announce(const std::vector<Bytes>& frames, unsigned repeats) {
    auto packets = std::make_shared<std::vector<Bytes>>();
    for (const Bytes& frame : frames) {
        Bytes& packet = packets->emplace_back(kHeader);  // nothing is left to be done
        packet.insert(packet.end(), frame.begin(), frame.end());
    }
    announce_again(std::move(packets), repeats, kFirstPauseNs);
}

void TapDevice::announce_again(std::shared_ptr<const std::vector<Bytes>> packets, unsigned repeats,
                               uint64_t pause_ns) {
    for (const Bytes& packet : *packets) send_packet(packet);
    if (repeats == 0) return;
    announcement_ = loop_.call_after(pause_ns, [this, packets = std::move(packets), repeats, pause_ns] {
        announce_again(packets, repeats - 1, pause_ns + kPauseGrowthNs);
    });
}

}  // namespace lockstep::host
