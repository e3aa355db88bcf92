// SPDX-License-Identifier: Apache-2.0
#include "host/orphan_frames.h"

#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <new>
#include <vector>

#include "base/check.h"
#include "base/log.h"
#include "host/clock.h"
#include "host/datagram.h"
#include "host/file_descriptor.h"

namespace lockstep::host {

namespace {

/// How long frames may come after the death. A new backup on this host can't have the devices before.
constexpr uint64_t kLongestNs = 250 * kNsPerMs;
/// Once the guest's new host has announced it: what switches had sent here before.
constexpr uint64_t kLastNs = 10 * kNsPerMs;
constexpr size_t kMacSize = 6;

struct Heir {
    SocketAddress to;
    size_t size = 0;
    std::array<uint8_t, OrphanFrames::kLongestWords> words{};
    std::optional<DatagramKey> key;
};

struct Device {
    std::atomic<int> tap = -1;
    MacAddress mac{};
};

}  // namespace

struct OrphanFrames::Shared {
    std::array<Heir, 2> prepared;  // one is written while the other is in force
    std::atomic<const Heir*> heir = nullptr;
    std::atomic<uint64_t> acknowledged = 0;
    std::array<Device, kMostNetworks> devices;
    FrameRing rings[kMostNetworks];
};

OrphanFrames::OrphanFrames(Encoder encoder) : encoder_(encoder) {
    void* memory = mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(memory != MAP_FAILED, "the host refuses {} bytes of shared memory", sizeof(Shared));
    shared_ = new (memory) Shared;
}

OrphanFrames::~OrphanFrames() { munmap(shared_, sizeof(Shared)); }

FrameRing& OrphanFrames::ring(size_t network) {
    CHECK(network < kMostNetworks);
    return shared_->rings[network];
}

void OrphanFrames::set_device(size_t network, int tap, const MacAddress& mac) {
    CHECK(network < kMostNetworks);
    shared_->devices[network].mac = mac;
    shared_->devices[network].tap = tap;
}

void OrphanFrames::acknowledged(LogPos before) { shared_->acknowledged = before.value(); }

void OrphanFrames::set_heir(const SocketAddress& to, ByteSpan words, const std::optional<DatagramKey>& key) {
    CHECK(words.size() <= kLongestWords);
    Heir& next = shared_->heir.load() == &shared_->prepared[0] ? shared_->prepared[1] : shared_->prepared[0];
    next.to = to;
    next.size = words.size();
    next.key = key;
    std::copy(words.begin(), words.end(), next.words.begin());
    shared_->heir = &next;
}

void OrphanFrames::forget_heir() { shared_->heir = nullptr; }

// --- The watcher ---

/// One watcher's work.
class OrphanFrames::Forwarding {
  public:
    Forwarding(const OrphanFrames& orphans, const Heir& heir)
        : shared_(*orphans.shared_),
          encoder_(orphans.encoder_),
          heir_(heir),
          socket_(::socket(heir.to.family(), SOCK_DGRAM | SOCK_CLOEXEC, 0)),
          until_ns_(monotonic_ns() + kLongestNs) {
        if (heir.key) sealer_.emplace(*heir.key);
    }

    void send_kept() {
        for (size_t network = 0; network < kMostNetworks; ++network) {
            shared_.rings[network].for_each_from(LogPos(shared_.acknowledged),
                                                 [&](ByteSpan frame) { add(network, frame); });
            send_group(network);
        }
    }

    void send_what_comes() {
        std::array<pollfd, kMostNetworks> polled;
        for (size_t network = 0; network < kMostNetworks; ++network)
            polled[network] = {.fd = shared_.devices[network].tap, .events = POLLIN, .revents = 0};
        for (uint64_t now_ns; (now_ns = monotonic_ns()) < until_ns_ && room_ > 0;) {
            int timeout_ms = static_cast<int>((until_ns_ - now_ns) / kNsPerMs) + 1;
            if (::poll(polled.data(), polled.size(), timeout_ms) < 0 && errno != EINTR) return;
            for (size_t network = 0; network < kMostNetworks; ++network) {
                if (polled[network].revents & POLLIN) read(network, polled[network].fd);
                if (polled[network].revents & ~POLLIN) polled[network].fd = -1;  // the device is gone
            }
        }
    }

    size_t frames() const { return frames_; }

  private:
    void read(size_t network, int tap) {
        for (ssize_t size; room_ > 0 && (size = TapDevice::read_packet(tap, buffer_)) > 0;) {
            ByteSpan packet(buffer_, static_cast<size_t>(size));
            if (is_announcement(network, packet))
                until_ns_ = std::min(until_ns_, monotonic_ns() + kLastNs);
            else
                add(network, packet);
            send_group(network);  // the buffer is used again
        }
    }

    /// What the guest itself has sent comes from where it is now.
    bool is_announcement(size_t network, ByteSpan packet) const {
        constexpr size_t kSource = TapDevice::kHeader + kMacSize;
        return packet.size() >= kSource + kMacSize &&
               std::equal(shared_.devices[network].mac.begin(), shared_.devices[network].mac.end(),
                          packet.begin() + kSource);
    }

    void add(size_t network, ByteSpan packet) {
        if (group_bytes_ + packet.size() > DatagramSocket::kLargest) send_group(network);
        group_.push_back(packet);
        group_bytes_ += packet.size();
    }

    /// A packet that is longer than any datagram is lost.
    void send_group(size_t network) {
        if (!group_.empty() && group_bytes_ <= room_) {
            Bytes datagram = encoder_({heir_.words.data(), heir_.size}, network, group_);
            if (sealer_) datagram = sealer_->seal(datagram, Words::kOrphans);
            ssize_t sent = ::sendto(socket_.get(), datagram.data(), datagram.size(), MSG_NOSIGNAL,
                                    heir_.to.get(), heir_.to.length);
            if (sent > 0) frames_ += group_.size();
        }
        room_ -= std::min(room_, group_bytes_);
        group_.clear();
        group_bytes_ = 0;
    }

    Shared& shared_;
    Encoder encoder_;
    const Heir& heir_;
    std::optional<DatagramSealer> sealer_;
    FileDescriptor socket_;
    uint64_t until_ns_;
    size_t room_ = kMostBytes;
    size_t frames_ = 0;
    std::vector<ByteSpan> group_;
    size_t group_bytes_ = 0;
    uint8_t buffer_[FrameRing::kLargest];
};

void OrphanFrames::forward(std::string_view what) const {
    const Heir* heir = shared_->heir;
    if (!heir) return;
    Forwarding forwarding(*this, *heir);
    forwarding.send_kept();
    size_t kept = forwarding.frames();
    forwarding.send_what_comes();
    log_info(
        "a process that served a VM {}; packets for its guest that went to the other side: {} which it had "
        "read, {} that came after",
        what, kept, forwarding.frames() - kept);
}

}  // namespace lockstep::host
