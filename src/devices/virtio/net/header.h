// SPDX-License-Identifier: Apache-2.0
// struct virtio_net_hdr (Virtio 1.2, 5.1.6), which precedes every packet: in the guest's buffers, in the log,
// and at a TAP device with IFF_VNET_HDR alike. It says what was left to the receiver: a checksum to complete,
// and the segments to cut a large TCP packet into.
#pragma once

#include <cstdint>

#include "base/bytes.h"

namespace lockstep::devices::virtio {

inline constexpr uint8_t kNetNeedsChecksum = 1, kNetDataValid = 2;                          // flags
inline constexpr uint8_t kNetNotSegmented = 0, kNetTcp4 = 1, kNetTcp6 = 4, kNetEcn = 0x80;  // segmentation

struct NetHeader {
    uint8_t flags = 0;
    uint8_t segmentation = kNetNotSegmented;  ///< the kind; kNetEcn may be added to one of TCP
    uint16_t header_length = 0;               ///< Ethernet, IP and TCP headers; a hint
    uint16_t segment_size = 0;                ///< payload of each segment, in bytes
    uint16_t checksum_start = 0;              ///< the sum covers the frame from here on
    uint16_t checksum_offset = 0;             ///< where the sum goes, from checksum_start
    uint16_t buffers = 0;                     ///< to the guest: how many of its buffers the packet fills

    bool needs_checksum() const { return flags & kNetNeedsChecksum; }
    /// kNetTcp4, kNetTcp6, kNetNotSegmented or what nobody knows.
    uint8_t protocol() const { return segmentation & static_cast<uint8_t>(~kNetEcn); }
};
static_assert(sizeof(NetHeader) == 12, "as the specification has it, on a little-endian host");

inline constexpr size_t kNetHeaderSize = sizeof(NetHeader);

/// The header of a packet of at least kNetHeaderSize bytes.
inline NetHeader read_net_header(ByteSpan packet) {
    NetHeader header;
    std::memcpy(&header, packet.data(), kNetHeaderSize);
    return header;
}

inline ByteSpan bytes_of(const NetHeader& header) {
    return {reinterpret_cast<const uint8_t*>(&header), kNetHeaderSize};
}

}  // namespace lockstep::devices::virtio
