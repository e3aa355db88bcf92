// SPDX-License-Identifier: Apache-2.0
// The ports of a session (pair/ports.h) that lead to the vCPU's thread, to the link and to the arbiter of a
// real VM process. Backends leads outside; the process itself is the host.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "host/arbiter.h"
#include "host/death_watch.h"
#include "host/last_words.h"
#include "host/orphan_frames.h"
#include "pair/session.h"
#include "vmm/pair_link.h"
#include "vmm/settings.h"
#include "vmm/vcpu_thread.h"

namespace lockstep::vmm {

class VcpuGuest : public pair::Guest {
  public:
    struct Hooks {
        std::function<void(const record::Entry&)> replayed;  ///< an entry goes to the replay
        std::function<void()> log_wanted;  ///< whether a backup waits for entries has changed: wants_log()
        std::function<bool()> recorded;    ///< whether somebody else needs state hashes
    };
    VcpuGuest(VcpuThread& vcpu, const VmSettings& settings, Hooks hooks)
        : vcpu_(vcpu), settings_(settings), hooks_(std::move(hooks)) {}
    /// Whose events the guest's are; before any call.
    void connect(pair::Session& session) { session_ = &session; }
    bool wants_log() const { return wants_log_; }
    /// Of the copy that is being made, or of the last one.
    const memory::Clone::Progress& clone_progress() const;
    /// The snapshot from which an owner's machine goes on; before any call.
    void set_first_state(const std::string& path) { from_ = path; }
    /// Another than the session has the vCPU thread make a clone, and end it; false: the session does so. A copy that the
    /// session begins meanwhile waits for take_clone_back().
    bool lend_clone();
    void take_clone_back();
    /// Between two state hashes, while somebody needs them.
    uint64_t hash_period_ns() const { return settings_.protection.hash_ms * host::kNsPerMs; }

    void make(SharedBytes configuration, pair::MadeFor purpose) override;
    void start_replay(LogPos position) override { vcpu_.start_replay(position); }
    void replay(std::vector<record::Entry> entries, Icount complete) override;
    void go_live(LogPos position, uint64_t behind_ns) override;
    void pause(uint64_t number) override;
    void settle(uint64_t number) override;
    void resume() override { vcpu_.resume(); }
    void set_speed(uint32_t permille) override { vcpu_.set_speed(permille); }
    void start_clone(uint64_t number) override;
    pair::Taken take_pages(Bytes& out, size_t bytes) override;
    void next_round(uint64_t number) override;
    void cut(uint64_t number) override;
    void end_clone() override;
    Result<void> load_pages(ByteSpan records) override { return vcpu_.load_pages(records); }
    void load_state(Bytes state) override;
    void be_careful() override;
    void want_log(bool wanted) override;

  private:
    VcpuThread& vcpu_;
    const VmSettings& settings_;
    Hooks hooks_;
    pair::Session* session_ = nullptr;
    bool wants_log_ = false;
    memory::Clone* clone_ = nullptr;  ///< whose pages may be taken
    uint64_t clone_number_ = 0;       ///< of the copy that is wanted
    bool cloning_ = false;            ///< the session has begun a copy
    bool lent_ = false;
    std::optional<uint64_t> waiting_;  ///< the copy that is to begin once it is taken back
    std::string from_;
    mutable memory::Clone::Progress progress_;
};

/// What must have gone out before the process ends: links and words to the arbiter that are under way.
using Leaving = std::shared_ptr<unsigned>;

class LinkPort : public pair::Link {
  public:
    /// `orphans`: what this process leaves at its death to the other side of the link.
    LinkPort(Leaving leaving, host::OrphanFrames& orphans);
    void connect(pair::Session& session) { session_ = &session; }

    /// The link that there is from now on.
    void attach(std::unique_ptr<PairLink> link);
    const PairLink* link() const { return link_.get(); }
    /// Sent on this link and all before.
    uint64_t bytes_sent() const { return earlier_bytes_ + (link_ ? link_->bytes_sent() : 0); }

    /// Of the datagrams that came on this link and all before.
    host::DatagramOpener::Ignored ignored_datagrams() const;

    bool is_open() const override { return link_ != nullptr; }
    void send(const Pieces& message) override;
    void send_datagram(ByteSpan datagram) override;
    size_t queued_bytes() const override { return link_ ? link_->queued_bytes() : 0; }
    void close() override {
        former_link_.reset();
        close_link();
    }
    void close_channel() override;
    void keep_last_words(const std::optional<Bytes>& words) override;

  private:
    std::shared_ptr<PairLink> close_link();

    Leaving leaving_;
    pair::Session* session_ = nullptr;
    std::unique_ptr<PairLink> link_;
    std::shared_ptr<PairLink> former_link_;  ///< for datagrams, until there is another link
    host::OrphanFrames& orphans_;
    host::LastWords last_words_;
    host::DeathWatch death_watch_;  ///< of the thread that makes this, which is to be the I/O thread
    uint64_t earlier_bytes_ = 0;
    host::DatagramOpener::Ignored earlier_ignored_;
};

class ArbiterPort : public pair::Arbiter {
  public:
    /// `arbiter`: null where the VM has none; it is then asked for nothing but set_free().
    ArbiterPort(std::string vm_name, std::unique_ptr<host::Arbiter> arbiter, Leaving leaving)
        : vm_name_(std::move(vm_name)), arbiter_(std::move(arbiter)), leaving_(std::move(leaving)) {}
    void connect(pair::Session& session) { session_ = &session; }
    bool exists() const { return arbiter_ != nullptr; }

    void look(Term term) override;
    void claim(Term term) override;
    void renew(Term term, const std::optional<replica::HostPair>& hosts) override;
    void set_free(Term term) override;

  private:
    std::string vm_name_;
    std::unique_ptr<host::Arbiter> arbiter_;
    Leaving leaving_;
    pair::Session* session_ = nullptr;
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace lockstep::vmm
