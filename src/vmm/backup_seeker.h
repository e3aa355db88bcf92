// SPDX-License-Identifier: Apache-2.0
// An owner's search for a host that runs its backup, and its question whether the VM runs elsewhere.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "host/event_loop.h"
#include "host/tls_handshake.h"
#include "vmm/introduction.h"
#include "vmm/link_security.h"
#include "vmm/pair_link.h"

namespace lockstep::vmm {

/// One conversation with a host daemon up to its answer. Destroying it ends it without a call back.
class Greeting {
  public:
    /// The link is still open where the answer accepts.
    using Done = std::function<void(Result<std::unique_ptr<PairLink>> link, const Answer& answer)>;

    /// `done` comes once, within `timeout_ns`. The introduction's UDP port is filled in here.
    Greeting(host::EventLoop& loop, const std::string& host, const LinkSecurity& security,
             const Introduction& introduction, uint64_t timeout_ns, Done done);

  private:
    void connect();
    void connected(host::FileDescriptor socket);
    void shake_hands(host::FileDescriptor socket);
    void introduce(std::unique_ptr<host::Channel> channel, const std::optional<host::DatagramKeys>& keys);
    void answered(ByteSpan frame);
    void finish(Result<std::unique_ptr<PairLink>> link, const Answer& answer = {});
    void fail(const std::string& reason);

    host::EventLoop& loop_;
    std::string host_;
    LinkSecurity security_;
    Introduction introduction_;
    Done done_;
    std::unique_ptr<host::ChannelConnector> connector_;
    std::unique_ptr<host::TlsHandshake> handshake_;
    std::unique_ptr<PairLink> link_;
    host::Timer timeout_;
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

/// Tries the candidate hosts in turn, one for each call of seek().
class BackupSeeker {
  public:
    BackupSeeker(host::EventLoop& loop, const LinkSecurity& security, std::vector<std::string> candidates)
        : loop_(loop), security_(security), candidates_(std::move(candidates)) {}

    /// Asks the next candidate; nothing happens while an earlier question is open.
    void seek(const Introduction& introduction, std::function<void(std::unique_ptr<PairLink>)> found);
    void give_up() { greeting_.reset(); }
    /// From now on these are the candidates.
    void set_candidates(std::vector<std::string> candidates);
    /// Why the last question brought no backup; empty before the first, and after a success.
    const std::string& failure() const { return failure_; }

  private:
    void failed(const std::string& host, const std::string& why);

    host::EventLoop& loop_;
    LinkSecurity security_;
    std::vector<std::string> candidates_;
    size_t next_ = 0;
    std::unique_ptr<Greeting> greeting_;
    std::string failure_;
    std::map<std::string, std::string> complaints_;  ///< what was said of each host last
};

}  // namespace lockstep::vmm
