// SPDX-License-Identifier: Apache-2.0
#include "host/channel.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "host/sockets.h"
#include "host/tcp_round_trip.h"

namespace lockstep::host {

namespace {

using FrameLength = uint32_t;
constexpr size_t kLengthSize = sizeof(FrameLength);
constexpr size_t kReadSize = 256 * 1024;
constexpr size_t kMostReadAtOnce = 4 << 20;  // then the loop's other work gets its turn
constexpr size_t kChunkSize = 256 * 1024;
constexpr size_t kMostParts = 256;            // of one write
constexpr size_t kLongRest = 8 * 1024;        // of a frame: worth telling the kernel
constexpr size_t kMostExpected = 256 * 1024;  // at a time: much less than the kernel's buffer holds

void set_option(int socket, int level, int name, int value) {
    setsockopt(socket, level, name, &value, sizeof value);
}

class TcpStream final : public ByteStream {
  public:
    explicit TcpStream(FileDescriptor socket) : socket_(std::move(socket)) {}

    long read(std::span<uint8_t> out) override {
        ssize_t got = ::recv(socket_.get(), out.data(), out.size(), 0);
        return got < 0 ? -errno : got;
    }
    long write(std::span<const ByteSpan> parts) override {
        std::array<iovec, kMostParts> vectors;
        size_t count = std::min(parts.size(), kMostParts);
        for (size_t i = 0; i < count; i++)
            vectors[i] = {.iov_base = const_cast<uint8_t*>(parts[i].data()), .iov_len = parts[i].size()};
        msghdr message{};
        message.msg_iov = vectors.data();
        message.msg_iovlen = count;
        ssize_t sent = ::sendmsg(socket_.get(), &message, MSG_NOSIGNAL);
        return sent < 0 ? -errno : sent;
    }
    int descriptor() const override { return socket_.get(); }
    void expect(size_t bytes) override {
        set_option(socket_.get(), SOL_SOCKET, SO_RCVLOWAT, static_cast<int>(bytes));
    }

  private:
    FileDescriptor socket_;
};

/// Without the right to force them the kernel's own, growing buffers are the better choice.
void set_buffers(int socket, const ChannelOptions& options) {
    set_option(socket, SOL_SOCKET, SO_SNDBUFFORCE, options.socket_buffer_bytes);
    set_option(socket, SOL_SOCKET, SO_RCVBUFFORCE, options.socket_buffer_bytes);
}

void set_connection_options(int socket, const ChannelOptions& options) {
    int seconds = static_cast<int>(std::max<uint64_t>(options.user_timeout_ms / 3000, 1));
    set_option(socket, IPPROTO_TCP, TCP_NODELAY, 1);
    set_option(socket, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_option(socket, IPPROTO_TCP, TCP_KEEPIDLE, seconds);
    set_option(socket, IPPROTO_TCP, TCP_KEEPINTVL, seconds);
    set_option(socket, IPPROTO_TCP, TCP_KEEPCNT, 3);
    set_option(socket, IPPROTO_TCP, TCP_USER_TIMEOUT, static_cast<int>(options.user_timeout_ms));
}

size_t total_size(std::span<const ByteSpan> parts) {
    size_t size = 0;
    for (ByteSpan part : parts) size += part.size();
    return size;
}

}  // namespace

std::string ByteStream::explain(int error_number) const { return std::strerror(error_number); }

std::unique_ptr<ByteStream> make_tcp_stream(FileDescriptor socket, const ChannelOptions& options) {
    set_connection_options(socket.get(), options);
    return std::make_unique<TcpStream>(std::move(socket));
}

std::unique_ptr<Channel> make_channel(EventLoop& loop, FileDescriptor socket, const ChannelOptions& options) {
    std::string peer = peer_address(socket.get()).text();
    return std::make_unique<Channel>(loop, make_tcp_stream(std::move(socket), options), peer, options);
}

Channel::Channel(EventLoop& loop, std::unique_ptr<ByteStream> stream, std::string peer,
                 const ChannelOptions& options)
    : loop_(loop),
      stream_(std::move(stream)),
      peer_(std::move(peer)),
      options_(options),
      watch_(loop.watch(stream_->descriptor(), Interest::kNone, [this](Ready r) { ready(r); })) {}

Channel::~Channel() { close(); }

void Channel::close() {
    watch_.reset();
    stream_.reset();
}

bool Channel::is_closed_there() const {
    if (!stream_) return true;
    pollfd polled{stream_->descriptor(), POLLRDHUP, 0};
    return ::poll(&polled, 1, 0) != 0;
}

uint64_t Channel::round_trip_ns() const { return stream_ ? tcp_round_trip_ns(stream_->descriptor()) : 0; }

void Channel::set_handlers(Handlers handlers) {
    handlers_ = std::make_shared<Handlers>(std::move(handlers));
    resume_receiving();
}

void Channel::pause_receiving() {
    paused_ = true;
    update_interest();
}

void Channel::resume_receiving() {
    paused_ = false;
    update_interest();
    go_on_receiving();
}

/// What was read before a pause, or lies in the stream, isn't announced by the descriptor.
void Channel::go_on_receiving() {
    loop_.post([this, alive = std::weak_ptr<bool>(alive_)] {
        if (alive.expired() || !stream_ || paused_ || !handlers_ || !take_frames()) return;
        if (stream_->may_hold_more())
            receive();
        else
            expect_rest();
    });
}

void Channel::update_interest() {
    if (!stream_) return;
    bool reads = handlers_ && !paused_, writes = queued_ > 0;
    Interest with_reads = writes ? Interest::kReadWrite : Interest::kRead;
    watch_.set_interest(reads ? with_reads : (writes ? Interest::kWrite : Interest::kNone));
}

void Channel::ready(Ready ready) {
    std::weak_ptr<bool> alive = alive_;
    if (ready.writable) transmit();
    if (!alive.expired() && stream_ && ready.readable && !paused_) receive();
}

void Channel::receive() {
    for (size_t total = 0; total < kMostReadAtOnce;) {
        make_room();
        long got = stream_->read(std::span(input_).subspan(input_used_));
        if (got == -EINTR) continue;
        if (got == -EAGAIN) break;
        if (got <= 0) return fail_io(got);
        size_t offered = input_.size() - input_used_;
        input_used_ += static_cast<size_t>(got);
        total += static_cast<size_t>(got);
        counters_.bytes_in += static_cast<uint64_t>(got);
        if (!take_frames()) return;
        if (static_cast<size_t>(got) < offered) break;
    }
    if (stream_->may_hold_more()) return go_on_receiving();
    expect_rest();
}

/// A long frame comes in pieces: not each of them shall wake up this thread. To be called wherever receiving
/// goes on later, as what is expected now may be more than there will ever be.
void Channel::expect_rest() {
    size_t wanted = 1, used = input_used_ - input_taken_;
    if (used >= kLengthSize) {
        FrameLength length;
        std::memcpy(&length, input_.data() + input_taken_, kLengthSize);
        size_t rest = kLengthSize + length - used;
        if (rest >= kLongRest) wanted = std::min(rest, kMostExpected);
    }
    if (wanted != std::exchange(expected_, wanted)) stream_->expect(wanted);
}

/// `result` as a ByteStream returns it: 0 or a negative errno.
void Channel::fail_io(long result) {
    if (result == 0) return fail(CloseCause::kPeerClosed, error("{} has closed the channel", peer_));
    bool reset = result == -ECONNRESET || result == -EPIPE;
    fail(reset ? CloseCause::kPeerClosed : CloseCause::kBroken,
         error("the channel to {} is broken: {}", peer_, stream_->explain(static_cast<int>(-result))));
}

/// Moves the begun frame to the front and makes room for more of it. A length is only what the other side
/// says: the room grows with the bytes that have come.
void Channel::make_room() {
    if (input_taken_ > 0) {
        std::memmove(input_.data(), input_.data() + input_taken_, input_used_ - input_taken_);
        input_used_ -= input_taken_;
        input_taken_ = 0;
    }
    size_t wanted = std::max(kReadSize, input_used_ + kLengthSize);
    if (input_used_ >= kLengthSize) {
        FrameLength length;
        std::memcpy(&length, input_.data(), kLengthSize);
        wanted = std::max(wanted, std::min(kLengthSize + length, 2 * input_used_));
    }
    if (input_.size() < wanted) input_.resize(wanted);
}

/// Hands over the frames that are complete; false once the channel is closed, paused or destroyed by that.
bool Channel::take_frames() {
    std::weak_ptr<bool> alive = alive_;
    while (input_used_ - input_taken_ >= kLengthSize) {
        FrameLength length;
        std::memcpy(&length, input_.data() + input_taken_, kLengthSize);
        if (length > options_.largest_frame) {
            fail(CloseCause::kBroken, error("{} has sent a frame of {} bytes where {} are the most; does it "
                                            "speak Lockstep's protocol?",
                                            peer_, length, options_.largest_frame));
            return false;
        }
        if (input_used_ - input_taken_ - kLengthSize < length) return true;
        ByteSpan frame(input_.data() + input_taken_ + kLengthSize, length);
        input_taken_ += kLengthSize + length;
        counters_.frames_in++;
        std::shared_ptr<Handlers> handlers = handlers_;
        handlers->frame(frame);
        if (alive.expired() || !stream_ || paused_) return false;
    }
    return true;
}

void Channel::send(std::span<const ByteSpan> parts) {
    if (!stream_ || gives_up_) return;
    size_t size = total_size(parts);
    if (size > options_.largest_frame) return give_up(size);
    auto length = static_cast<FrameLength>(size);
    std::vector<ByteSpan> all;
    all.reserve(parts.size() + 1);
    all.emplace_back(reinterpret_cast<const uint8_t*>(&length), kLengthSize);
    all.insert(all.end(), parts.begin(), parts.end());
    counters_.frames_out++;
    counters_.bytes_out += size + kLengthSize;

    size_t sent = 0;
    if (queued_ == 0) {
        long result = stream_->write(all);
        if (result > 0)
            sent = static_cast<size_t>(result);  // an error shows itself again when the queue is sent
    }
    if (sent == size + kLengthSize) return;
    queue(all, sent);
    update_interest();
}

/// What is too long for the other side breaks this channel, and nothing else.
void Channel::give_up(size_t size) {
    gives_up_ = true;
    loop_.post([this, size, alive = std::weak_ptr<bool>(alive_)] {
        if (alive.expired() || !stream_) return;
        fail(CloseCause::kBroken,
             error("a frame of {} bytes is too long for {}, which takes {}: this is a bug", size, peer_,
                   options_.largest_frame));
    });
}

void Channel::queue(std::span<const ByteSpan> parts, size_t skip) {
    for (ByteSpan part : parts) {
        size_t skipped = std::min(skip, part.size());
        skip -= skipped;
        part = part.subspan(skipped);
        if (part.empty()) continue;
        if (output_.empty() || output_.back().size() + part.size() > kChunkSize) output_.emplace_back();
        output_.back().insert(output_.back().end(), part.begin(), part.end());
        queued_ += part.size();
    }
}

void Channel::transmit() {
    while (queued_ > 0) {
        long sent = write_queue();
        if (sent == -EINTR) continue;
        if (sent == -EAGAIN) return;
        if (sent < 0) return fail_io(sent);
        queued_ -= static_cast<size_t>(sent);
        output_sent_ += static_cast<size_t>(sent);
        while (!output_.empty() && output_sent_ >= output_.front().size()) {
            output_sent_ -= output_.front().size();
            output_.pop_front();
        }
        if (queued_ > 0) continue;
        if (finished_) return finish_sending();
        update_interest();
        std::shared_ptr<Handlers> handlers = handlers_;
        if (handlers && handlers->drained) handlers->drained();
        return;  // the handler may have destroyed this object
    }
}

long Channel::write_queue() {
    std::array<ByteSpan, kMostParts> parts;
    size_t count = 0;
    for (const Bytes& chunk : output_) {
        if (count == kMostParts) break;
        parts[count] = ByteSpan(chunk).subspan(count == 0 ? output_sent_ : 0);
        count++;
    }
    return stream_->write({parts.data(), count});
}

void Channel::close_after_sending(Callback done) {
    finished_ = std::move(done);
    paused_ = true;
    update_interest();
    loop_.post([this, alive = std::weak_ptr<bool>(alive_)] {
        if (!alive.expired() && finished_ && (!stream_ || queued_ == 0)) finish_sending();
    });
}

void Channel::finish_sending() {
    close();
    std::exchange(finished_, nullptr)();
}

void Channel::fail(CloseCause cause, const Error& reason) {
    if (finished_) return finish_sending();
    close();
    std::shared_ptr<Handlers> handlers = handlers_;
    if (handlers && handlers->closed) handlers->closed(cause, reason);
}

ChannelConnector::ChannelConnector(EventLoop& loop, const SocketAddress& to, const ChannelOptions& options,
                                   const Times& times, Connected connected, Failed failed)
    : loop_(loop),
      to_(to),
      options_(options),
      times_(times),
      connected_(std::move(connected)),
      failed_(std::move(failed)),
      timer_(loop.call_after(0, [this] { attempt(); })) {}

ChannelConnector::~ChannelConnector() = default;

void ChannelConnector::attempt() {
    socket_ = FileDescriptor(::socket(to_.family(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!socket_) return attempt_failed(std::strerror(errno));
    set_buffers(socket_.get(), options_);
    if (connect(socket_.get(), to_.get(), to_.length) < 0 && errno != EINPROGRESS)
        return attempt_failed(std::strerror(errno));
    watch_ = loop_.watch(socket_.get(), Interest::kWrite, [this](Ready) { check(); });
    timer_ = loop_.call_after(times_.attempt_ns, [this] { attempt_failed("no answer"); });
}

void ChannelConnector::check() {
    int failure = 0;
    socklen_t size = sizeof failure;
    getsockopt(socket_.get(), SOL_SOCKET, SO_ERROR, &failure, &size);
    if (failure != 0) return attempt_failed(std::strerror(failure));
    // Where the port lies in the kernel's range for clients, a socket may end up connected to itself.
    if (local_address(socket_.get()).text() == peer_address(socket_.get()).text())
        return attempt_failed("nobody listens there");
    watch_.reset();
    timer_.reset();
    Connected connected = connected_;  // the call may destroy this object
    connected(std::move(socket_));
}

void ChannelConnector::attempt_failed(const std::string& reason) {
    watch_.reset();
    socket_.reset();
    timer_ = loop_.call_after(times_.pause_ns, [this] { attempt(); });
    if (!failed_) return;
    Failed failed = failed_;  // the call may destroy this object
    failed(error("cannot connect to {}: {}; see that Lockstep serves there and that the link is up",
                 to_.text(), reason));
}

}  // namespace lockstep::host
