// SPDX-License-Identifier: Apache-2.0
#include "load_client/connection.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace lockstep::load_client {
namespace {

/// The reason of errno; a timeout of the socket shows as EAGAIN or EINPROGRESS.
std::string reason() {
    if (errno == EAGAIN || errno == EINPROGRESS) return "the guest was silent for too long";
    return std::strerror(errno);
}

}  // namespace

Result<Connection> Connection::open(const std::string& host, uint16_t port, unsigned stall_seconds) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    if (inet_pton(AF_INET, host.c_str(), &address.sin_addr) != 1)
        return error("'{}' is no IPv4 address: give the guest's address as in 10.77.0.10", host);
    Connection connection(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (connection.fd_ < 0) return error("no socket: {}", std::strerror(errno));

    timeval bound{static_cast<time_t>(stall_seconds), 0};
    int on = 1;
    setsockopt(connection.fd_, SOL_SOCKET, SO_RCVTIMEO, &bound, sizeof bound);
    setsockopt(connection.fd_, SOL_SOCKET, SO_SNDTIMEO, &bound, sizeof bound);
    setsockopt(connection.fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(connection.fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
        return error("{}:{}: {}", host, port, reason());
    return connection;
}

Connection::Connection(Connection&& other) noexcept { *this = std::move(other); }

Connection& Connection::operator=(Connection&& other) noexcept {
    std::swap(fd_, other.fd_);
    std::swap(buffer_, other.buffer_);
    std::swap(used_, other.used_);
    return *this;
}

Connection::~Connection() {
    if (fd_ >= 0) close(fd_);
}

Result<void> Connection::write(std::string_view bytes) {
    while (!bytes.empty()) {
        ssize_t sent = send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent < 0) return error("write: {}", reason());
        bytes.remove_prefix(static_cast<size_t>(sent));
    }
    return {};
}

uint64_t Connection::resent() const {
    tcp_info info{};
    socklen_t size = sizeof info;
    return getsockopt(fd_, IPPROTO_TCP, TCP_INFO, &info, &size) == 0 ? info.tcpi_total_retrans : 0;
}

Result<bool> Connection::fill() {
    if (used_ == buffer_.size()) {
        buffer_.clear();
        used_ = 0;
    }
    char chunk[65536];
    ssize_t received;
    do {
        received = recv(fd_, chunk, sizeof chunk, 0);
    } while (received < 0 && errno == EINTR);
    if (received < 0) return error("read: {}", reason());
    buffer_.append(chunk, static_cast<size_t>(received));
    return received > 0;
}

Result<std::string> Connection::read_line() {
    size_t searched = used_;
    for (;;) {
        size_t end = buffer_.find('\n', searched);
        if (end != std::string::npos) {
            std::string line = buffer_.substr(used_, end - used_);
            used_ = end + 1;
            if (line.ends_with('\r')) line.pop_back();
            return line;
        }
        size_t unread = buffer_.size() - used_;
        if (!TRY(fill())) return error("the peer closed the connection");
        searched = used_ + unread;
    }
}

Result<std::string> Connection::read_some(size_t limit) {
    if (used_ == buffer_.size() && !TRY(fill())) return std::string();
    size_t size = std::min(limit, buffer_.size() - used_);
    std::string bytes = buffer_.substr(used_, size);
    used_ += size;
    return bytes;
}

Result<std::string> Connection::read_exactly(size_t size) {
    std::string bytes;
    while (bytes.size() < size) {
        std::string more = TRY(read_some(size - bytes.size()));
        if (more.empty())
            return error("the peer closed the connection after {} of {} bytes", bytes.size(), size);
        bytes += more;
    }
    return bytes;
}

}  // namespace lockstep::load_client
