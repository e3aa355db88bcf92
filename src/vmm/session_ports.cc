// SPDX-License-Identifier: Apache-2.0
#include "vmm/session_ports.h"

#include "base/check.h"
#include "vmm/clone_pages.h"

namespace lockstep::vmm {

// --- The vCPU's thread ---

void VcpuGuest::make(SharedBytes configuration, pair::MadeFor purpose) {
    vcpu_.create(
        std::move(configuration), settings_.engine, purpose,
        [this](const Result<void>& made) { session_->on_made(made); }, from_);
}

void VcpuGuest::load_state(Bytes state) {
    vcpu_.load_state(std::move(state), [this](const Result<void>& loaded) { session_->on_loaded(loaded); });
}

void VcpuGuest::replay(std::vector<record::Entry> entries, Icount complete) {
    for (const record::Entry& entry : entries) hooks_.replayed(entry);
    vcpu_.replay({std::move(entries), complete});
}

void VcpuGuest::go_live(LogPos position, uint64_t behind_ns) {
    vcpu_.go_live(position, hooks_.recorded() ? hash_period_ns() : 0, behind_ns,
                  [this](const std::vector<bus::Output>& requests) { session_->on_unanswered(requests); });
}

void VcpuGuest::pause(uint64_t number) {
    vcpu_.pause([this, number](Icount icount) { session_->on_paused(number, icount); });
}

void VcpuGuest::settle(uint64_t number) {
    vcpu_.call([this, number](machine::Machine&, const drive::DriverCounts&, LogPos) {
        vcpu_.report([this, number] { session_->on_settled(number); });
    });
}

bool VcpuGuest::lend_clone() {
    if (cloning_ || lent_) return false;
    lent_ = true;
    return true;
}

void VcpuGuest::take_clone_back() {
    lent_ = false;
    if (std::optional<uint64_t> number = std::exchange(waiting_, std::nullopt)) start_clone(*number);
}

void VcpuGuest::start_clone(uint64_t number) {
    cloning_ = true;
    if (lent_) {
        waiting_ = number;
        return;
    }
    progress_ = {};
    vcpu_.start_clone([this, number, wanted = ++clone_number_](memory::Clone& clone) {
        if (wanted != clone_number_) return;  // it has been ended, and lives no longer
        clone_ = &clone;
        session_->on_round(number);
    });
}

pair::Taken VcpuGuest::take_pages(Bytes& out, size_t bytes) {
    CHECK(clone_, "pages of a copy that isn't made");
    return vmm::take_pages(*clone_, out, bytes);
}

void VcpuGuest::next_round(uint64_t number) {
    vcpu_.next_round([this, number] { session_->on_round(number); });
}

void VcpuGuest::cut(uint64_t number) {
    vcpu_.cut([this, number](VcpuThread::Cut made) {
        vcpu_.set_hash_period(hash_period_ns());
        session_->on_cut(number, made.icount, std::move(made.state));
    });
}

void VcpuGuest::end_clone() {
    cloning_ = false;
    ++clone_number_;
    if (std::exchange(waiting_, std::nullopt)) return;
    if (clone_) {
        progress_ = clone_->progress();
        clone_->cancel();
    }
    clone_ = nullptr;
    vcpu_.end_clone();
}

const memory::Clone::Progress& VcpuGuest::clone_progress() const {
    if (clone_) progress_ = clone_->progress();
    return progress_;
}

void VcpuGuest::be_careful() {
    vcpu_.be_careful([this] { session_->on_care_over(); });
}

void VcpuGuest::want_log(bool wanted) {
    wants_log_ = wanted;
    hooks_.log_wanted();
}

// --- The link ---

LinkPort::LinkPort(Leaving leaving, host::OrphanFrames& orphans)
    : leaving_(std::move(leaving)),
      orphans_(orphans),
      death_watch_([&orphans] { orphans.forward("has died"); }) {}

void LinkPort::attach(std::unique_ptr<PairLink> link) {
    former_link_.reset();
    link_ = std::move(link);
    link_->set_largest_message(replica::kMaxMessageBytes);
    death_watch_.guard(link_->descriptor());
    link_->set_handlers({.message = [this](ByteSpan message) { session_->on_link_message(message); },
                         .datagram = [this](ByteSpan datagram) { session_->on_link_datagram(datagram); },
                         .closed =
                             [this](host::CloseCause cause, const Error& why) {
                                 bool closed = cause == host::CloseCause::kPeerClosed;
                                 session_->on_link_closed(
                                     closed ? replica::ChannelEnd::kPeerClosed : replica::ChannelEnd::kBroken,
                                     why.message());
                             },
                         .drained = [this] { session_->on_link_drained(); }});
    session_->on_link_open();
}

void LinkPort::send(const Pieces& message) {
    if (!link_) return;
    std::vector<ByteSpan> parts(message.all().begin(), message.all().end());
    link_->send(parts);
}

void LinkPort::send_datagram(ByteSpan datagram) {
    if (link_) link_->send_datagram(datagram);
}

void LinkPort::close_channel() {
    std::shared_ptr<PairLink> link = close_link();
    if (!link) return;
    link->set_datagram_handler([this](ByteSpan datagram) { session_->on_link_datagram(datagram); });
    former_link_ = std::move(link);
}

/// The link lives until its last bytes are with the kernel.
std::shared_ptr<PairLink> LinkPort::close_link() {
    if (!link_) return nullptr;
    earlier_bytes_ += link_->bytes_sent();
    earlier_ignored_ = ignored_datagrams();
    death_watch_.guard(-1);
    std::shared_ptr<PairLink> link = std::move(link_);
    ++*leaving_;
    link->close([link, leaving = leaving_] { --*leaving; });
    return link;
}

host::DatagramOpener::Ignored LinkPort::ignored_datagrams() const {
    host::DatagramOpener::Ignored ignored = earlier_ignored_;
    if (!link_) return ignored;
    ignored.forged += link_->ignored_datagrams().forged;
    ignored.repeated += link_->ignored_datagrams().repeated;
    return ignored;
}

void LinkPort::keep_last_words(const std::optional<Bytes>& words) {
    const host::SocketAddress* to = link_ ? link_->datagrams_to() : nullptr;
    if (to && words) {
        last_words_.prepare(*to, link_->seal_last_words(*words));
        orphans_.set_heir(*to, *words, link_->sending_key());
    } else {
        last_words_.forget();
        orphans_.forget_heir();
    }
}

// --- The arbiter ---

namespace {

replica::ArbiterAnswer answer_of(host::Verdict verdict) {
    switch (verdict) {
        case host::Verdict::kWon:
            return replica::ArbiterAnswer::kWon;
        case host::Verdict::kLost:
            return replica::ArbiterAnswer::kLost;
        case host::Verdict::kUnreachable:
            return replica::ArbiterAnswer::kUnreachable;
    }
    return replica::ArbiterAnswer::kUnreachable;
}

replica::Renewal answer_of(host::RenewAnswer::Outcome outcome) {
    switch (outcome) {
        case host::RenewAnswer::Outcome::kRenewed:
            return replica::Renewal::kRenewed;
        case host::RenewAnswer::Outcome::kSuperseded:
            return replica::Renewal::kSuperseded;
        case host::RenewAnswer::Outcome::kUnreachable:
            return replica::Renewal::kUnreachable;
    }
    return replica::Renewal::kUnreachable;
}

}  // namespace

void ArbiterPort::look(Term term) {
    CHECK(arbiter_, "a look at a term without an arbiter");
    arbiter_->look(vm_name_, term, [this, alive = std::weak_ptr<bool>(alive_)](const host::TermLook& look) {
        if (alive.expired()) return;
        session_->on_looked({.reachable = look.reachable,
                             .latest = look.latest,
                             .lease = look.lease,
                             .free = look.free,
                             .owner = look.owner,
                             .hosts = {look.pair.owner, look.pair.backup},
                             .why = look.detail});
    });
}

void ArbiterPort::claim(Term term) {
    CHECK(arbiter_, "a claim without an arbiter");
    arbiter_->claim(vm_name_, term,
                    [this, term, alive = std::weak_ptr<bool>(alive_)](const host::ClaimAnswer& answer) {
                        if (!alive.expired())
                            session_->on_claimed(term, answer_of(answer.verdict), answer.detail);
                    });
}

void ArbiterPort::renew(Term term, const std::optional<replica::HostPair>& hosts) {
    CHECK(arbiter_, "a renewal without an arbiter");
    std::optional<std::string> backup;
    if (hosts) backup = hosts->backup;
    arbiter_->renew(vm_name_, term, backup,
                    [this, term, alive = std::weak_ptr<bool>(alive_)](const host::RenewAnswer& answer) {
                        if (!alive.expired())
                            session_->on_renewed(term, answer_of(answer.outcome), answer.detail);
                    });
}

void ArbiterPort::set_free(Term term) {
    if (!arbiter_) return;
    ++*leaving_;
    arbiter_->set_free(vm_name_, term, [leaving = leaving_] { --*leaving; });
}

}  // namespace lockstep::vmm
