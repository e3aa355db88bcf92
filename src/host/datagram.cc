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

}  // namespace lockstep::host
