// SPDX-License-Identifier: Apache-2.0
#include "api/server.h"

#include <sys/stat.h>

#include <algorithm>

#include "base/log.h"
#include "host/sockets.h"

namespace lockstep::api {

namespace {

/// Of those who have shown no certificate yet.
constexpr size_t kMostHandshakes = 200;

/// Changes when a file of the identity does.
std::string stamp_of(const std::string& folder) {
    std::string stamp;
    for (const char* name : {"host.crt", "host.key", "authority.crt", "removed.crl"}) {
        struct stat info {};
        if (::stat((folder + "/" + name).c_str(), &info) != 0) info = {};
        stamp +=
            fmt::format("{}.{}.{}.{} ", info.st_ino, info.st_mtim.tv_sec, info.st_mtim.tv_nsec, info.st_size);
    }
    return stamp;
}

host::ChannelOptions socket_options() {
    return {.user_timeout_ms = 30'000, .socket_buffer_bytes = 256 << 10};
}

}  // namespace

Server::Server(host::EventLoop& loop, const ServerOptions& options)
    : loop_(loop),
      options_(options),
      vms_(loop, options.runtime_base),
      events_(loop, vms_),
      answers_(loop, vms_, events_, [this] { return facts_; }) {}

Result<std::unique_ptr<Server>> Server::create(host::EventLoop& loop, const ServerOptions& options) {
    host::SocketAddress at = TRY(host::SocketAddress::parse(options.listen));
    std::unique_ptr<Server> server(new Server(loop, options));
    server->facts_.insecure = options.security.kind == vmm::Security::kInsecure;
    server->facts_.name = host::own_name();
    if (!server->facts_.insecure) TRY(server->refresh_identity());
    host::FileDescriptor socket = TRY(host::listen_at(at));
    Server* self = server.get();
    server->acceptor_ = std::make_unique<host::Acceptor>(
        loop, std::move(socket),
        [self](host::FileDescriptor connection) { self->accept(std::move(connection)); });
    return server;
}

host::SocketAddress Server::address() const { return host::local_address(acceptor_->descriptor()); }

Result<void> Server::refresh_identity() {
    std::string stamp = stamp_of(options_.security.folder);
    if (stamp == identity_stamp_) return {};
    host::Identity identity = TRY(host::load_identity(options_.security.folder));
    tls_ = TRY(host::tls_api_settings(identity));
    facts_.name = identity.name();
    facts_.certificate_until_s = host::validity_of(*identity.own).until_s;
    facts_.certificate_until = host::date_text(facts_.certificate_until_s);
    identity_stamp_ = stamp;
    return {};
}

void Server::accept(host::FileDescriptor socket) {
    if (!make_room()) return complain("too many connections are in use; a new one was closed");
    uint64_t id = next_id_++;
    auto stream = host::make_tcp_stream(std::move(socket), socket_options());
    if (facts_.insecure) return serve(id, std::move(stream), {"anyone", host::Role::kAdmin});
    shake_hands(id, std::move(stream));
}

/// False: all that are there are in use.
bool Server::make_room() {
    if (handshakes_.size() >= kMostHandshakes) handshakes_.erase(handshakes_.begin());
    if (connections() < options_.most_connections) return true;
    auto idle = std::ranges::find_if(connections_, [](const auto& one) { return one.second->is_idle(); });
    if (idle != connections_.end())
        connections_.erase(idle);
    else if (!handshakes_.empty())
        handshakes_.erase(handshakes_.begin());
    return connections() < options_.most_connections;
}

void Server::shake_hands(uint64_t id, std::unique_ptr<host::ByteStream> stream) {
    // A certificate that is out of date is still better than none.
    if (Result<void> fresh = refresh_identity(); !fresh) complain(fresh.error().message());
    Result<host::Tls> tls = host::tls_api_server(tls_);
    if (!tls) return complain(tls.error().message());
    std::string peer = host::peer_address(stream->descriptor()).text();
    handshakes_[id] = std::make_unique<host::TlsHandshake>(
        loop_, std::move(stream), tls.take(),
        [this, id, peer](Result<host::SecuredStream> done) { secured(id, std::move(done), peer); });
}

void Server::secured(uint64_t id, Result<host::SecuredStream> secured, const std::string& peer) {
    handshakes_.erase(id);
    if (!secured)
        return complain(
            fmt::format("{} isn't let in: {}", peer.substr(0, peer.rfind(':')), secured.error().message()));
    host::SecuredStream stream = secured.take();
    // Another host of the cluster may look.
    serve(id, std::move(stream.stream), {stream.peer_name, stream.peer_role.value_or(host::Role::kViewer)});
}

void Server::serve(uint64_t id, std::unique_ptr<host::ByteStream> stream, Caller caller) {
    connections_[id] = std::make_unique<Connection>(
        loop_, std::move(stream), std::move(caller),
        [this](const Request& request, const Caller& who, Connection::Reply reply) {
            answers_.answer(request, who, std::move(reply));
        },
        [this, id] { connections_.erase(id); });
}

void Server::complain(const std::string& sentence) {
    if (auto said = complaints_.hear(sentence, loop_.now_ns())) log_warning("{}", *said);
}

}  // namespace lockstep::api
