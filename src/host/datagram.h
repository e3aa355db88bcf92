// SPDX-License-Identifier: Apache-2.0
// Datagrams: the heartbeats, which travel beside the logging channel.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "base/bytes.h"
#include "base/result.h"
#include "host/address.h"
#include "host/event_loop.h"
#include "host/file_descriptor.h"

namespace lockstep::host {

/// A UDP socket. Datagrams may be lost, doubled or reordered, and may come from anyone: the receiver checks
/// them.
class DatagramSocket {
  public:
    using Receiver = std::function<void(ByteSpan datagram, const SocketAddress& from)>;
    static constexpr size_t kLargest = 1400;

    /// Fails with a sentence where the port is busy or the address isn't one of this host's.
    static Result<std::unique_ptr<DatagramSocket>> create(EventLoop& loop, const SocketAddress& at,
                                                          Receiver receiver);

    /// Sends, or drops where the network doesn't take it.
    void send(const SocketAddress& to, ByteSpan datagram);
    SocketAddress address() const;

  private:
    DatagramSocket(EventLoop& loop, FileDescriptor socket, Receiver receiver);
    void receive();

    FileDescriptor socket_;
    Receiver receiver_;
    Watch watch_;
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);  // a callback may destroy this object
};

}  // namespace lockstep::host
