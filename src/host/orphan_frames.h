// SPDX-License-Identifier: Apache-2.0
// What the guest of a process that dies would have lost: frames that clients have sent to it, and that its backup
// hasn't got in the log. A client's TCP sends them again only after its own time-out, 200 ms at least.
//
//     process (dies)                  watcher (death_watch.h)                  backup
//       reads frames into rings,        waits
//       which both share
//                      ... is dead       forward(): what the rings hold and
//                                        the backup hasn't acknowledged  ---->   keeps it until it is live
//                                        what comes in at the TAP devices  --->
//                                        sees the guest announced by its new
//                                        host: whatever follows goes there
//
// A process that has handed its guest over does the same itself before it ends.
//
// The process alone writes while it lives, the watcher only reads, and only when that is dead: of a process that
// was stopped nothing is forwarded. The watcher ends by itself, 250 ms after the death at the latest, or after
// kMostBytes.
#pragma once

#include <array>
#include <optional>
#include <span>
#include <string_view>

#include "base/bytes.h"
#include "base/strong.h"
#include "host/address.h"
#include "host/frame_ring.h"
#include "host/sealed_datagrams.h"
#include "host/tap_device.h"

namespace lockstep::host {

class OrphanFrames {
  public:
    static constexpr size_t kMostNetworks = 4;
    static constexpr size_t kMostBytes = 1 << 20;  ///< forwarded in all
    static constexpr size_t kLongestWords = 256;
    /// The datagram that brings frames of a network to the heir; `words` as of set_heir(). Called by forward().
    using Encoder = Bytes (*)(ByteSpan words, size_t network, std::span<const ByteSpan> frames);

    /// To be made before the watcher is.
    explicit OrphanFrames(Encoder encoder);
    ~OrphanFrames();
    OrphanFrames(const OrphanFrames&) = delete;
    OrphanFrames& operator=(const OrphanFrames&) = delete;

    // --- The process ---

    /// Of a network that is to be read by this process, below kMostNetworks.
    FrameRing& ring(size_t network);
    /// The network's device, and the guest's own address in it.
    void set_device(size_t network, int tap, const MacAddress& mac);
    /// The backup has the entries before this one.
    void acknowledged(LogPos before);
    /// Who is to have the frames, what proves to him that they come from this process, and what the datagrams are sealed
    /// with; none: they aren't.
    void set_heir(const SocketAddress& to, ByteSpan words, const std::optional<DatagramKey>& key);
    /// Nobody is to have them.
    void forget_heir();

    // --- The watcher, once the process is dead, or a process whose guest runs elsewhere ---

    /// Returns when nothing is to be expected any more. `what`: what has become of the process, for the log.
    void forward(std::string_view what) const;

  private:
    struct Shared;
    class Forwarding;
    Encoder encoder_;
    Shared* shared_;
};

}  // namespace lockstep::host
