// SPDX-License-Identifier: Apache-2.0
#include "host/datagram.h"

#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "host/sockets.h"

namespace lockstep::host {

Result<std::unique_ptr<DatagramSocket>> DatagramSocket::create(EventLoop& loop, const SocketAddress& at,
                                                               Receiver receiver) {
    FileDescriptor socket(::socket(at.family(), SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!socket) return socket_error("UDP", at, errno);
    if (bind(socket.get(), at.get(), at.length) < 0) return socket_error("UDP", at, errno);
    return std::unique_ptr<DatagramSocket>(new DatagramSocket(loop, std::move(socket), std::move(receiver)));
}

DatagramSocket::DatagramSocket(EventLoop& loop, FileDescriptor socket, Receiver receiver)
    : socket_(std::move(socket)),
      receiver_(std::move(receiver)),
      watch_(loop.watch(socket_.get(), Interest::kRead, [this](Ready) { receive(); })) {}

void DatagramSocket::receive() {
    constexpr int kBatch = 32;
    std::array<uint8_t, 65536> buffer;
    std::weak_ptr<bool> alive = alive_;
    for (int i = 0; i < kBatch && !alive.expired(); i++) {
        SocketAddress from;
        from.length = sizeof from.storage;
        ssize_t size = recvfrom(socket_.get(), buffer.data(), buffer.size(), 0, from.get(), &from.length);
        if (size >= 0) receiver_({buffer.data(), static_cast<size_t>(size)}, from);
        if (size < 0 && errno == EAGAIN) return;  // other errors are reports of undelivered datagrams
    }
}

void DatagramSocket::send(const SocketAddress& to, ByteSpan datagram) {
    sendto(socket_.get(), datagram.data(), datagram.size(), MSG_DONTWAIT | MSG_NOSIGNAL, to.get(), to.length);
}

SocketAddress DatagramSocket::address() const { return local_address(socket_.get()); }

HeartbeatSender::HeartbeatSender(EventLoop& loop, DatagramSocket& socket, const SocketAddress& to,
                                 uint64_t interval_ns, std::function<Bytes()> content)
    : loop_(loop),
      socket_(socket),
      to_(to),
      interval_ns_(interval_ns),
      next_ns_(loop.now_ns()),
      content_(std::move(content)),
      timer_(loop.call_at(next_ns_, [this] { beat(); })) {}

void HeartbeatSender::beat() {
    socket_.send(to_, content_());
    // Beats that were missed (the process was stopped) aren't made up for.
    next_ns_ = std::max(next_ns_ + interval_ns_, loop_.now_ns());
    timer_ = loop_.call_at(next_ns_, [this] { beat(); });
}

}  // namespace lockstep::host
