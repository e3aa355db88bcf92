// SPDX-License-Identifier: Apache-2.0
#include "host/acceptor.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/log.h"
#include "host/files.h"

namespace lockstep::host {

namespace {

constexpr int kWaitingConnections = 16;

Result<sockaddr_un> socket_path(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path) {
        return error("the socket path {} is longer than {} bytes; choose a shorter folder", path,
                     sizeof address.sun_path - 1);
    }
    std::memcpy(address.sun_path, path.data(), path.size());
    return address;
}

const sockaddr* generic(const sockaddr_un& address) { return reinterpret_cast<const sockaddr*>(&address); }

/// Removes a socket that nobody listens at any more.
Result<void> remove_dead_socket(const std::string& path, const sockaddr_un& address) {
    struct stat info {};
    if (lstat(path.c_str(), &info) < 0) return {};
    if (!S_ISSOCK(info.st_mode))
        return error("{} exists and is no socket; remove it, or choose another path", path);
    FileDescriptor probe(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    bool listened_at = connect(probe.get(), generic(address), sizeof address) == 0 || errno == EAGAIN;
    if (listened_at) return error("another process listens at {}; stop it, or choose another path", path);
    unlink(path.c_str());
    return {};
}

}  // namespace

Acceptor::Acceptor(EventLoop& loop, FileDescriptor socket, std::function<void(FileDescriptor)> accepted)
    : loop_(loop),
      socket_(std::move(socket)),
      accepted_(std::move(accepted)),
      watch_(loop.watch(socket_.get(), Interest::kRead, [this](Ready) { accept_all(); })) {}

void Acceptor::accept_all() {
    std::weak_ptr<bool> alive = alive_;
    while (!alive.expired()) {
        FileDescriptor connection(accept4(socket_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
        if (connection) {
            accepted_(std::move(connection));
            continue;
        }
        if (errno == EINTR || errno == ECONNABORTED) continue;
        if (errno == EAGAIN) return;
        log_warning("cannot accept a connection: {}; trying again in a second", std::strerror(errno));
        watch_.set_interest(Interest::kNone);
        pause_ = loop_.call_after(kNsPerSecond, [this] { watch_.set_interest(Interest::kRead); });
        return;
    }
}

Result<FileDescriptor> listen_at_path(const std::string& path) {
    sockaddr_un address = TRY(socket_path(path));
    TRY(remove_dead_socket(path, address));
    FileDescriptor listener(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!listener) return file_error("make a socket for", path, errno);
    if (fchmod(listener.get(), 0600) < 0 || bind(listener.get(), generic(address), sizeof address) < 0 ||
        listen(listener.get(), kWaitingConnections) < 0)
        return file_error("listen at", path, errno);
    return listener;
}

void set_socket_timeout(int socket, int option, uint64_t timeout_ns) {
    timeval timeout{static_cast<time_t>(timeout_ns / kNsPerSecond),
                    static_cast<suseconds_t>(timeout_ns % kNsPerSecond / 1000)};
    setsockopt(socket, SOL_SOCKET, option, &timeout, sizeof timeout);
}

namespace {

Result<FileDescriptor> connect_with(int flags, const std::string& path, uint64_t timeout_ns) {
    sockaddr_un address = TRY(socket_path(path));
    FileDescriptor connection(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0));
    if (!connection) return file_error("make a socket for", path, errno);
    // A process that hangs accepts nobody: those who wait there fill its queue, and the next one waits for room.
    set_socket_timeout(connection.get(), SO_SNDTIMEO, timeout_ns);
    if (connect(connection.get(), generic(address), sizeof address) == 0) {
        set_socket_timeout(connection.get(), SO_SNDTIMEO, 0);
        return connection;
    }
    if (errno == EAGAIN)
        return error("whoever listens at {} accepts nobody; is it stopped, or its host overloaded?", path);
    if (errno == ENOENT || errno == ECONNREFUSED)
        return error("nobody listens at {}; is the VM running on this host, under this name?", path);
    return file_error("connect to", path, errno);
}

}  // namespace

Result<FileDescriptor> connect_to_path(const std::string& path, uint64_t timeout_ns) {
    return connect_with(0, path, timeout_ns);
}

Result<FileDescriptor> connect_to_path_at_once(const std::string& path) {
    return connect_with(SOCK_NONBLOCK, path, 0);
}

}  // namespace lockstep::host
