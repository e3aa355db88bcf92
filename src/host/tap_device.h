// SPDX-License-Identifier: Apache-2.0
// The network backend: a TAP device of the host.
//
// Every packet, either way, has a virtio header before its Ethernet frame (struct virtio_net_hdr_v1, 12
// bytes): it says which checksum is still to be completed, and into what segments a large TCP packet is to be
// cut. The kernel, or the network card, does both; between two guests of one host nobody needs to. The kernel
// sends such packets only where set_offloads() has said that the guest takes them.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "host/event_loop.h"
#include "host/file_descriptor.h"
#include "host/frame_ring.h"

namespace lockstep::host {

using MacAddress = std::array<uint8_t, 6>;

/// Whether this can be the name of a network device; `what` it is to be, for the sentence.
Result<void> check_device_name(const std::string& name, const char* what);

/// "52:54:00:12:34:56" and back. Addresses of groups, and of nobody, are refused.
Result<MacAddress> parse_mac(const std::string& text);
std::string mac_text(const MacAddress& mac);

struct TapOptions {
    std::string name;  ///< at most 15 characters; attached to where it exists, otherwise created
    std::string
        bridge;  ///< the bridge that it is made a port of, unless it is one already; empty: left as it is
};

/// What keeps create() from succeeding, as far as that can be known without making the device: the bridge, a
/// device of that name which is none, this user's rights.
Result<void> check_tap(const TapOptions& options);

class TapDevice {
  public:
    /// Packets received, in order, at most kBatch of them; they live until the call returns. All their bytes
    /// are defined.
    using Receiver = std::function<void(std::span<const ByteSpan> packets)>;
    static constexpr size_t kBatch = 64;
    static constexpr size_t kBatchBytes = 256 << 10;  ///< no more is read once so many bytes have come
    static constexpr size_t kHeader = 12;             ///< the virtio header
    static constexpr size_t kLargestPacket = FrameRing::kLargest;

    /// Makes or attaches to the device and brings it up. Fails with a sentence where /dev/net/tun or the
    /// right CAP_NET_ADMIN is missing, another process holds the device, the name is no TAP device, or the
    /// kernel's TAP devices have no virtio headers.
    /// `ring`: where what is received lies; null: in one of its own.
    static Result<std::unique_ptr<TapDevice>> create(EventLoop& loop, const TapOptions& options,
                                                     FrameRing* ring = nullptr);

    const std::string& name() const { return name_; }
    int descriptor() const { return tap_.get(); }
    /// Whoever has the receiver says there what became of each batch.
    FrameRing& ring() { return *ring_; }

    /// Reads one packet of the descriptor of a device, with all its bytes defined; its size, at most that of
    /// `room`. 0: there is none; below: errno says why.
    static ssize_t read_packet(int tap, std::span<uint8_t> room);

    /// Starts receiving. Frames that came before are thrown away: they may be hours old.
    void set_receiver(Receiver receiver);
    /// Back-pressure: while paused the frames wait in the kernel's queue, which drops what doesn't fit.
    void pause_receiving();
    void resume_receiving();

    /// What the guest takes of packets that aren't finished; nothing until this is called.
    struct Offloads {
        bool checksum = false, tcp4 = false, tcp6 = false, ecn = false;
    };
    void set_offloads(const Offloads& offloads);

    /// Sends packets in order. What the kernel doesn't take (a header that makes no sense, say) is dropped
    /// and counted, as on a wire.
    void send(std::span<const ByteSpan> packets);
    /// Sends Ethernet frames that announce the guest's addresses (source_addresses.h) now and `repeats` times
    /// more, with growing pauses (50, 150, 250 ... ms), since a switch may miss the first.
    void announce(const std::vector<Bytes>& frames, unsigned repeats = 4);

    struct Counters {
        uint64_t frames_in = 0, frames_out = 0, bytes_in = 0, bytes_out = 0, dropped_out = 0;
    };
    const Counters& counters() const { return counters_; }

  private:
    TapDevice(EventLoop& loop, FileDescriptor tap, std::string name, FrameRing* ring);
    void receive();
    void send_packet(ByteSpan packet);
    void announce_again(std::shared_ptr<const std::vector<Bytes>> packets, unsigned repeats,
                        uint64_t pause_ns);

    EventLoop& loop_;
    FileDescriptor tap_;
    std::string name_;
    Receiver receiver_;
    std::unique_ptr<FrameRing> own_ring_;
    FrameRing* ring_;
    std::vector<ByteSpan> batch_;
    Counters counters_;
    Watch watch_;
    Timer announcement_;
};

}  // namespace lockstep::host
