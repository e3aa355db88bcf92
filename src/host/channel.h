// SPDX-License-Identifier: Apache-2.0
// The logging channel's transport: framed messages over one TCP connection.
//
// A frame is its length (4 bytes, little-endian) and that many bytes. Frames arrive whole, in order, or the
// channel is closed with a reason. Nothing here knows what the frames say.
//
// Goals: a frame sent on an idle channel is in the kernel before send() returns; what the kernel doesn't take
// is queued here and counted (queued_bytes()), so that the sender can slow down; a peer that is gone is
// noticed by the user timeout even without traffic of ours.
//
// The bytes go through a ByteStream, so that encryption can take the place of the bare socket.
//
// All calls and callbacks are on the loop's thread. A callback may destroy the channel.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "base/bytes.h"
#include "base/result.h"
#include "host/address.h"
#include "host/event_loop.h"
#include "host/file_descriptor.h"

namespace lockstep::host {

struct ChannelOptions {
    uint64_t user_timeout_ms = 10'000;  ///< sent bytes that stay unacknowledged so long close the channel
    size_t largest_frame = 64 << 20;    ///< a longer one closes the channel
    int socket_buffer_bytes = 4 << 20;  ///< asked of the kernel, each way
};

/// How a channel ended.
enum class CloseCause : uint8_t {
    kPeerClosed,  ///< end of file or reset: the peer's system says that its process has closed it or is gone
    kBroken,      ///< anything else: timed out, no route, a frame that is too long
};

/// A connected, non-blocking stream of bytes.
class ByteStream {
  public:
    virtual ~ByteStream() = default;
    /// Bytes moved; 0: the peer has closed (read only); negative: an errno, -EAGAIN for "later". Fewer than there is room
    /// for: there are no more now.
    virtual long read(std::span<uint8_t> out) = 0;
    /// What wasn't taken is to be offered again, before anything else.
    virtual long write(std::span<const ByteSpan> parts) = 0;
    virtual int descriptor() const = 0;
    /// Fewer bytes than these are of no use to the reader: the descriptor needn't become readable for them.
    /// Holds until the next call; 1 at first.
    virtual void expect(size_t bytes) = 0;
    /// Whether there may be bytes in here that the descriptor doesn't announce.
    virtual bool may_hold_more() const { return false; }
    /// What an errno of read() or write() means, for people.
    virtual std::string explain(int error_number) const;
};

/// A connected, non-blocking TCP socket, with the options of a channel.
std::unique_ptr<ByteStream> make_tcp_stream(FileDescriptor socket, const ChannelOptions& options);

class Channel {
  public:
    struct Handlers {
        /// A frame has come; the span lives until the handler returns.
        std::function<void(ByteSpan frame)> frame;
        /// The channel is closed, by the peer or by an error; the last call.
        std::function<void(CloseCause cause, const Error& reason)> closed;
        /// Optional: queued_bytes() has come down to 0.
        std::function<void()> drained;
    };

    Channel(EventLoop& loop, std::unique_ptr<ByteStream> stream, std::string peer,
            const ChannelOptions& options);
    ~Channel();
    Channel(const Channel&) = delete;
    Channel& operator=(const Channel&) = delete;

    /// Receiving starts with this call. May be called again, to change hands.
    void set_handlers(Handlers handlers);

    /// From now on frames up to this size are sent and taken: a stranger is granted less than a partner.
    void set_largest_frame(size_t bytes) { options_.largest_frame = bytes; }

    /// Sends a frame of the joined parts. Dropped where the channel is closed. One that is too long isn't
    /// sent, and breaks the channel.
    void send(ByteSpan frame) { send(std::span(&frame, 1)); }
    void send(std::span<const ByteSpan> parts);
    /// Bytes that the kernel hasn't taken yet.
    size_t queued_bytes() const { return queued_; }

    /// Back-pressure towards the peer: its frames wait in the kernels' buffers while paused.
    void pause_receiving();
    void resume_receiving();

    /// Closes without a call of `closed`; what is queued is lost.
    void close();
    /// Receives no more, hands what is queued to the kernel, closes, then calls `done`. Where the channel
    /// breaks meanwhile, or is closed already, `done` is called as well; never from within this call.
    void close_after_sending(Callback done);
    bool is_open() const { return stream_ != nullptr; }
    /// Its socket; -1 once it is closed.
    int descriptor() const { return stream_ ? stream_->descriptor() : -1; }
    /// What the link itself takes for a round trip, in ns; 0: not known.
    uint64_t round_trip_ns() const;
    /// Whether the other side has closed its end, as the kernel knows it before the loop has read it.
    bool is_closed_there() const;
    /// The peer's address, for messages.
    const std::string& peer() const { return peer_; }

    struct Counters {
        uint64_t frames_in = 0, frames_out = 0, bytes_in = 0, bytes_out = 0;
    };
    const Counters& counters() const { return counters_; }

  private:
    void ready(Ready ready);
    void receive();
    void make_room();
    bool take_frames();
    void go_on_receiving();
    void expect_rest();
    void transmit();
    long write_queue();
    void queue(std::span<const ByteSpan> parts, size_t skip);
    void give_up(size_t size);
    void update_interest();
    void fail(CloseCause cause, const Error& reason);
    void fail_io(long result);
    void finish_sending();

    EventLoop& loop_;
    std::unique_ptr<ByteStream> stream_;
    std::string peer_;
    ChannelOptions options_;
    std::shared_ptr<Handlers> handlers_;
    bool paused_ = false;
    bool gives_up_ = false;  // a frame was too long: nothing more is sent
    Callback finished_;      // set: closing once all is sent
    Bytes input_;            // begins with a frame's length
    size_t input_used_ = 0;  // bytes of input_ that hold data
    size_t input_taken_ = 0;
    size_t expected_ = 1;  ///< by stream_
    std::deque<Bytes> output_;
    size_t output_sent_ = 0;  // bytes of output_.front() that are gone
    size_t queued_ = 0;
    Counters counters_;
    Watch watch_;
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);  // a callback may destroy this object
};

/// A channel over a connected, non-blocking TCP socket, such as one that another process has accepted.
std::unique_ptr<Channel> make_channel(EventLoop& loop, FileDescriptor socket, const ChannelOptions& options);

/// Connects to an address, again and again until it succeeds; destroying it gives up. To reconnect after a
/// channel has closed, make another.
class ChannelConnector {
  public:
    using Connected = std::function<void(FileDescriptor socket)>;
    /// Optional; told of each attempt that failed.
    using Failed = std::function<void(const Error& reason)>;
    struct Times {
        uint64_t attempt_ns = 2 * kNsPerSecond;  ///< given up after that
        uint64_t pause_ns = 200 * kNsPerMs;      ///< between attempts
    };

    ChannelConnector(EventLoop& loop, const SocketAddress& to, const ChannelOptions& options,
                     const Times& times, Connected connected, Failed failed);
    ~ChannelConnector();

  private:
    void attempt();
    void check();
    void attempt_failed(const std::string& reason);

    EventLoop& loop_;
    SocketAddress to_;
    ChannelOptions options_;
    Times times_;
    Connected connected_;
    Failed failed_;
    FileDescriptor socket_;
    Watch watch_;
    Timer timer_;
};

}  // namespace lockstep::host
