// SPDX-License-Identifier: Apache-2.0
// The API of a host: HTTP/1.1 over TLS with certificates of the cluster, on the loop.
//
// Goals: who shows no certificate costs a handshake and nothing else; there are never more than a set number of connections,
// and a new one takes the place of one that waits longest for its next request, or has waited longest for its handshake; what
// hangs (a VM, a client) keeps nobody else waiting. It runs in a process of its own: no VM and no link between hosts depends on it.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "api/answers.h"
#include "host/acceptor.h"
#include "host/tls_handshake.h"
#include "vmm/complaints.h"
#include "vmm/link_security.h"

namespace lockstep::api {

struct ServerOptions {
    std::string listen;  ///< "address:port"
    std::string runtime_base;
    vmm::LinkSecurity security;
    size_t most_connections = 1000;
};

class Server {
  public:
    /// Fails with a sentence where the port is busy, or the host is in no cluster.
    static Result<std::unique_ptr<Server>> create(host::EventLoop& loop, const ServerOptions& options);

    host::SocketAddress address() const;
    size_t connections() const { return connections_.size() + handshakes_.size(); }

  private:
    Server(host::EventLoop& loop, const ServerOptions& options);

    void accept(host::FileDescriptor socket);
    void shake_hands(uint64_t id, std::unique_ptr<host::ByteStream> stream);
    void secured(uint64_t id, Result<host::SecuredStream> secured, const std::string& peer);
    void serve(uint64_t id, std::unique_ptr<host::ByteStream> stream, Caller caller);
    bool make_room();
    Result<void> refresh_identity();
    void complain(const std::string& sentence);

    host::EventLoop& loop_;
    ServerOptions options_;
    VmAccess vms_;
    EventFeed events_;
    Answers answers_;
    HostFacts facts_;
    host::TlsSettings tls_;
    std::string identity_stamp_;  ///< of the files that tls_ was made from
    std::map<uint64_t, std::unique_ptr<host::TlsHandshake>> handshakes_;  ///< in the order of their coming
    std::map<uint64_t, std::unique_ptr<Connection>> connections_;
    uint64_t next_id_ = 1;
    vmm::Complaints complaints_;
    std::unique_ptr<host::Acceptor> acceptor_;
};

}  // namespace lockstep::api
