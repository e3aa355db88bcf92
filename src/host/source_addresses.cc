// SPDX-License-Identifier: Apache-2.0
#include "host/source_addresses.h"

#include <algorithm>

namespace lockstep::host {

namespace {

constexpr size_t kMacSize = 6, kTagSize = 4, kTypeSize = 2;
constexpr size_t kShortestFrame = 60;  // IEEE 802.3, without the checksum
constexpr uint16_t kVlan = 0x8100, kServiceVlan = 0x88a8, kArp = 0x0806, kReverseArp = 0x8035, kIpv6 = 0x86dd;
constexpr uint8_t kIcmp6 = 58, kNeighbourSolicitation = 135, kNeighbourAdvertisement = 136;
// Of an IPv6 packet.
constexpr size_t kNextHeaderAt = 6, kSourceAt = 8, kIcmpAt = 40, kTargetAt = 48, kIpv6Size = 16;
// Of an ARP packet.
constexpr size_t kSenderMacAt = 8, kSenderIpAt = 14, kArpSize = 28;

uint16_t get16(ByteSpan bytes, size_t at) { return static_cast<uint16_t>(bytes[at] << 8 | bytes[at + 1]); }

void put16(Bytes& out, uint16_t value) {
    out.push_back(static_cast<uint8_t>(value >> 8));
    out.push_back(static_cast<uint8_t>(value));
}

void put(Bytes& out, ByteSpan bytes) { out.insert(out.end(), bytes.begin(), bytes.end()); }

template <size_t N>
std::array<uint8_t, N> array_at(ByteSpan bytes, size_t at) {
    std::array<uint8_t, N> value;
    std::copy_n(bytes.begin() + static_cast<ptrdiff_t>(at), N, value.begin());
    return value;
}

bool is_zero(ByteSpan bytes) {
    return std::ranges::all_of(bytes, [](uint8_t byte) { return byte == 0; });
}

/// An ARP packet in which both sides are the one that announces itself (RFC 826, 903, 5227).
Bytes arp(uint16_t operation, const MacAddress& mac, const std::array<uint8_t, 4>& ip,
          const MacAddress& target) {
    constexpr uint16_t kEthernet = 1, kIpv4 = 0x0800;
    Bytes packet;
    put16(packet, kEthernet);
    put16(packet, kIpv4);
    packet.push_back(kMacSize);
    packet.push_back(4);
    put16(packet, operation);
    put(packet, mac);
    put(packet, ip);
    put(packet, target);
    put(packet, ip);
    return packet;
}

Bytes reverse_arp(const MacAddress& mac) {
    constexpr uint16_t kRequest = 3;
    return arp(kRequest, mac, {}, mac);
}

Bytes gratuitous_arp(const MacAddress& mac, const std::array<uint8_t, 4>& ip) {
    constexpr uint16_t kRequest = 1;
    return arp(kRequest, mac, ip, {});
}

/// ICMPv6's checksum (RFC 4443, 2.3) of an IPv6 packet without extension headers, whose field holds zero.
uint16_t icmp6_checksum(ByteSpan packet) {
    uint32_t sum = kIcmp6 + static_cast<uint32_t>(packet.size() - kIcmpAt);
    for (size_t at = kSourceAt; at < packet.size(); at += 2) sum += get16(packet, at);
    while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
    return static_cast<uint16_t>(~sum);
}

/// To all nodes: `address` is at `mac`, whatever was known (RFC 4861, 7.2.6).
Bytes neighbour_advertisement(const MacAddress& mac, const std::array<uint8_t, 16>& address) {
    constexpr std::array<uint8_t, 16> kAllNodes = {0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
    constexpr uint8_t kOverride = 0x20, kTargetLinkAddress = 2, kHopLimit = 255;
    Bytes packet = {0x60, 0, 0, 0, 0, 32, kIcmp6, kHopLimit};
    put(packet, address);
    put(packet, kAllNodes);
    put(packet, Bytes{kNeighbourAdvertisement, 0, 0, 0, kOverride, 0, 0, 0});
    put(packet, address);
    put(packet, Bytes{kTargetLinkAddress, 1});
    put(packet, mac);
    uint16_t checksum = icmp6_checksum(packet);
    packet[kIcmpAt + 2] = static_cast<uint8_t>(checksum >> 8);
    packet[kIcmpAt + 3] = static_cast<uint8_t>(checksum);
    return packet;
}

/// The IPv4 address that an ARP packet from `mac` claims; none in a probe.
std::optional<std::array<uint8_t, 4>> claimed_ipv4(ByteSpan packet, const MacAddress& mac) {
    if (packet.size() < kArpSize || array_at<kMacSize>(packet, kSenderMacAt) != mac) return {};
    auto ip = array_at<4>(packet, kSenderIpAt);
    return is_zero(ip) ? std::nullopt : std::optional(ip);
}

/// The IPv6 address that a neighbour's advertisement, or the source of its solicitation, claims.
std::optional<std::array<uint8_t, 16>> claimed_ipv6(ByteSpan packet) {
    if (packet.size() < kTargetAt + kIpv6Size || packet[kNextHeaderAt] != kIcmp6) return {};
    bool advertises = packet[kIcmpAt] == kNeighbourAdvertisement;
    if (!advertises && packet[kIcmpAt] != kNeighbourSolicitation) return {};
    auto address = array_at<kIpv6Size>(packet, advertises ? kTargetAt : kSourceAt);
    return is_zero(address) || address[0] == 0xff ? std::nullopt : std::optional(address);
}

}  // namespace

void SourceAddresses::sent(ByteSpan frame, uint64_t now_ns) {
    if (frame.size() < 2 * kMacSize + kTypeSize) return;
    Place place{.mac = array_at<kMacSize>(frame, kMacSize)};
    if ((place.mac[0] & 1) || is_zero(place.mac)) return;  // nobody's
    size_t at = 2 * kMacSize;
    uint16_t type = get16(frame, at);
    while ((type == kVlan || type == kServiceVlan) && place.tags < place.tag.size()) {
        if (frame.size() < at + kTagSize + kTypeSize) return;
        auto& tag = place.tag[place.tags++];
        tag = array_at<kTagSize>(frame, at);
        tag[2] &= 0x0f;  // its priority makes no other place
        at += kTagSize;
        type = get16(frame, at);
    }
    auto found = known_.find(place);
    if (found == known_.end()) {
        if (known_.size() >= kMost) forget_oldest();
        found = known_.emplace(place, Use{}).first;
    }
    Use& use = found->second;
    use.at_ns = now_ns;
    ByteSpan packet = frame.subspan(at + kTypeSize);
    if (type == kArp) {
        if (auto ip = claimed_ipv4(packet, place.mac)) use.ipv4 = ip;
    } else if (type == kIpv6) {
        if (auto ip = claimed_ipv6(packet)) use.ipv6 = ip;
    }
}

void SourceAddresses::forget_oldest() {
    auto older = [](const auto& a, const auto& b) { return a.second.at_ns < b.second.at_ns; };
    known_.erase(std::ranges::min_element(known_, older));
}

std::vector<Bytes> SourceAddresses::announcements(const MacAddress& own, uint64_t now_ns) const {
    std::vector<Bytes> frames;
    auto add = [&frames](const Place& place, const MacAddress& to, uint16_t type, const Bytes& packet) {
        Bytes& frame = frames.emplace_back(to.begin(), to.end());
        put(frame, place.mac);
        for (uint8_t i = 0; i < place.tags; ++i) put(frame, place.tag[i]);
        put16(frame, type);
        put(frame, packet);
        if (frame.size() < kShortestFrame) frame.resize(kShortestFrame);
    };
    constexpr MacAddress kEverybody = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    constexpr MacAddress kAllNodes = {0x33, 0x33, 0, 0, 0, 1};
    add({.mac = own}, kEverybody, kReverseArp, reverse_arp(own));
    for (const auto& [place, use] : known_) {
        if (now_ns - use.at_ns > kRememberNs) continue;
        bool is_first = place == Place{.mac = own};
        if (!is_first) add(place, kEverybody, kReverseArp, reverse_arp(place.mac));
        if (use.ipv4) add(place, kEverybody, kArp, gratuitous_arp(place.mac, *use.ipv4));
        if (use.ipv6) add(place, kAllNodes, kIpv6, neighbour_advertisement(place.mac, *use.ipv6));
    }
    return frames;
}

}  // namespace lockstep::host
