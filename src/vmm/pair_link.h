// SPDX-License-Identifier: Apache-2.0
// The link of a VM process to the other side of its pair: one TCP channel for the log, and datagrams beside
// it for the heartbeats.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "host/channel.h"
#include "host/datagram.h"
#include "host/sealed_datagrams.h"

namespace lockstep::vmm {

class PairLink {
  public:
    struct Handlers {
        std::function<void(ByteSpan message)> message;
        std::function<void(ByteSpan datagram)> datagram;
        std::function<void(host::CloseCause cause, const Error& reason)> closed;  ///< at most once
        std::function<void()> drained;
    };

    /// A link over a connected channel. Datagrams go to the same host as the channel does, sealed by the keys of the
    /// channel's session; none: whoever sends one is believed.
    static Result<std::unique_ptr<PairLink>> create(host::EventLoop& loop,
                                                    std::unique_ptr<host::Channel> channel,
                                                    const std::optional<host::DatagramKeys>& keys);

    /// Receiving starts with this call; it may come again. A handler may destroy the link.
    void set_handlers(Handlers handlers);
    /// Of a link that was closed, which still takes datagrams.
    void set_datagram_handler(std::function<void(ByteSpan datagram)> handler) {
        handlers_ = std::make_shared<Handlers>();
        handlers_->datagram = std::move(handler);
    }
    /// Where this side takes datagrams, and where the other side does.
    uint16_t udp_port() const { return datagrams_->address().port(); }
    Result<void> set_peer_udp_port(uint16_t port);

    /// From now on messages up to this size go either way; link_options() are for strangers.
    void set_largest_message(size_t bytes) { channel_->set_largest_frame(bytes); }
    void send(ByteSpan message) { channel_->send(message); }
    /// The same, in parts.
    void send(std::span<const ByteSpan> parts) { channel_->send(parts); }
    void send_datagram(ByteSpan datagram);
    /// A datagram that lies ready to be sent by somebody else, at whatever time (host/last_words.h).
    Bytes seal_last_words(ByteSpan words);
    /// For whoever sends host::Words::kOrphans in this side's place; none: they aren't sealed.
    std::optional<host::DatagramKey> sending_key() const;
    /// Of the datagrams that came.
    host::DatagramOpener::Ignored ignored_datagrams() const;
    /// Where they go; null where that isn't known yet.
    const host::SocketAddress* datagrams_to() const { return peer_known_ ? &peer_ : nullptr; }
    /// Sends what is queued, closes, then calls `done`.
    void close(std::function<void()> done);

    size_t queued_bytes() const { return channel_->queued_bytes(); }
    /// The channel's socket; -1 once it is closed.
    int descriptor() const { return channel_->descriptor(); }
    /// As host::Channel::round_trip_ns().
    uint64_t round_trip_ns() const { return channel_->round_trip_ns(); }
    /// As host::Channel::is_closed_there().
    bool is_closed_there() const { return channel_->is_closed_there(); }
    const std::string& peer() const { return channel_->peer(); }
    /// Bytes sent on the channel and as datagrams.
    uint64_t bytes_sent() const { return channel_->counters().bytes_out + datagram_bytes_; }

  private:
    struct Seal {
        host::DatagramKey sending_key;
        host::DatagramSealer sealer;
        host::DatagramOpener opener;
    };
    explicit PairLink(std::unique_ptr<host::Channel> channel) : channel_(std::move(channel)) {}
    void received(ByteSpan datagram);

    std::unique_ptr<host::Channel> channel_;
    std::unique_ptr<host::DatagramSocket> datagrams_;
    std::unique_ptr<Seal> seal_;  ///< null: none
    std::shared_ptr<Handlers> handlers_;
    host::SocketAddress peer_;
    bool peer_known_ = false;
    uint64_t datagram_bytes_ = 0;
};

/// The channel's settings for every link: frames as large as an introduction, and a peer that doesn't
/// acknowledge is noticed by the replica long before TCP gives up.
host::ChannelOptions link_options();

}  // namespace lockstep::vmm
