// SPDX-License-Identifier: Apache-2.0
#include "debug/debug_server.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "debug/gdb_server.h"
#include "host/sockets.h"

namespace lockstep::debug {

namespace {

/// The next gdb's connection.
host::FileDescriptor accept_one(int listener) {
    while (true) {
        pollfd one{listener, POLLIN, 0};
        ::poll(&one, 1, -1);
        int socket = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
        if (socket < 0) continue;
        int yes = 1;
        ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        return host::FileDescriptor(socket);
    }
}

}  // namespace

Result<void> serve_debuggers(vmm::MachineFactory& factory, const DebugOptions& options) {
    host::SocketAddress at;
    if (!options.listen.empty()) at = TRY(host::SocketAddress::parse(options.listen));
    // First, while this process holds nothing else that the machine's would keep open.
    std::unique_ptr<Timeline> timeline = TRY(Timeline::open(options.path, factory, options.timeline));
    if (options.opened) options.opened();
    Monitor monitor(*timeline, options.path);
    if (options.listen.empty()) {
        TRY(GdbServer(*timeline, monitor, {STDIN_FILENO, STDOUT_FILENO}).serve());
        return {};
    }
    host::FileDescriptor listener = TRY(host::listen_at(at));
    if (options.listening) options.listening(host::local_address(listener.get()).text());
    while (true) {
        host::FileDescriptor gdb = accept_one(listener.get());
        auto end = TRY(GdbServer(*timeline, monitor, {gdb.get(), gdb.get()}).serve());
        if (end == GdbServer::End::kKilled) return {};
    }
}

}  // namespace lockstep::debug
