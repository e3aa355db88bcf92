// SPDX-License-Identifier: Apache-2.0
#include "host/sockets.h"

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace lockstep::host {

namespace {

constexpr int kBacklog = 256;  // an owner must find room among those who connect and say nothing

}  // namespace

Error socket_error(const char* protocol, const SocketAddress& at, int error_number) {
    std::string where = at.text();
    switch (error_number) {
        case EADDRINUSE:
            return error(
                "{} port {} of {} is busy: another program listens there; stop it, or choose another port",
                protocol, at.port(), where);
        case EADDRNOTAVAIL:
            return error("{} is none of this host's addresses; name one that 'ip address' shows", where);
        case EACCES:
            return error("this user may not use {} port {}; run as root, or choose a port above 1023",
                         protocol, at.port());
        default:
            return error("cannot use {} at {}: {}", protocol, where, std::strerror(error_number));
    }
}

Result<FileDescriptor> listen_at(const SocketAddress& at) {
    FileDescriptor socket(::socket(at.family(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!socket) return socket_error("TCP", at, errno);
    int one = 1;
    ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (::bind(socket.get(), at.get(), at.length) != 0 || ::listen(socket.get(), kBacklog) != 0)
        return socket_error("TCP", at, errno);
    return socket;
}

SocketAddress local_address(int socket) {
    SocketAddress address;
    address.length = sizeof address.storage;
    getsockname(socket, address.get(), &address.length);
    return address;
}

SocketAddress peer_address(int socket) {
    SocketAddress address;
    address.length = sizeof address.storage;
    getpeername(socket, address.get(), &address.length);
    return address;
}

std::string own_name() {
    char name[256] = "";
    ::gethostname(name, sizeof name - 1);
    return name;
}

}  // namespace lockstep::host
