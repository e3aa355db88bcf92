// SPDX-License-Identifier: Apache-2.0
// A host's side of vmm/cluster_messages.h: a question to the authority; and the care for this host's identity, by asking again
// and again.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "host/channel.h"
#include "host/tls_handshake.h"
#include "vmm/cluster_messages.h"

namespace lockstep::vmm {

/// Destroying it gives up without a call back.
class ClusterExchange {
  public:
    /// Of an answer that accepts.
    using Done = std::function<void(Result<ClusterAnswer> answer)>;
    using MakeTls = std::function<Result<host::Tls>()>;
    static constexpr uint64_t kTimeoutNs = 10 * host::kNsPerSecond;

    /// Asks at each of the addresses until one answers. `done` comes once; it may destroy this object.
    ClusterExchange(host::EventLoop& loop, std::vector<std::string> addresses, MakeTls make_tls,
                    const ClusterRequest& request, Done done);

  private:
    void ask_next();
    void connected(host::FileDescriptor socket);
    void secured(host::SecuredStream stream);
    void answered(ByteSpan frame);
    void failed(const std::string& why);
    void finish(Result<ClusterAnswer> answer);

    host::EventLoop& loop_;
    std::vector<std::string> addresses_;
    size_t next_ = 0;
    MakeTls make_tls_;
    ClusterRequest request_;
    Done done_;
    std::string last_failure_;
    std::unique_ptr<host::ChannelConnector> connector_;
    std::unique_ptr<host::TlsHandshake> handshake_;
    std::unique_ptr<host::Channel> channel_;
    host::Timer timeout_;
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

/// What a joining host does: the whole of it. Fails with a sentence.
Result<void> join_cluster(host::EventLoop& loop, const std::string& folder, const host::JoinToken& token);

/// Renews this host's certificate before it expires, and fetches who was removed; part of the daemon.
class IdentityKeeper {
  public:
    static constexpr uint64_t kPeriodNs = 60 * host::kNsPerSecond;

    IdentityKeeper(host::EventLoop& loop, std::string folder);

  private:
    void look();
    Result<void> keep();
    Result<void> keep_own(const host::Identity& identity);
    Result<void> take(const ClusterAnswer& answer);
    void complain(const std::string& why);

    host::EventLoop& loop_;
    std::string folder_;
    std::unique_ptr<ClusterExchange> exchange_;
    bool asked_for_address_ = false;
    std::string complaint_;
    host::Timer timer_;
};

}  // namespace lockstep::vmm
