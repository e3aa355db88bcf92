// SPDX-License-Identifier: Apache-2.0
// How an owner wins its VM at the arbiter before the guest starts (replica/starter.h), and keeps it.
#include "base/check.h"
#include "base/log.h"
#include "vmm/vm_process.h"

namespace lockstep::vmm {

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

// --- Before the guest starts ---

void VmProcess::prove_that_nobody_owns_it() {
    if (environment_.caution == replica::Caution::kForce)
        log_warning(
            "VM {} is started by force: if it still runs elsewhere, both guests write to its disks until the "
            "other "
            "finds that its term is over, and what they write then destroys the file systems",
            settings_.name);
    starter_ = std::make_unique<replica::Starter>(settings_.name, timing_of(settings_.protection),
                                                  environment_.caution);
    tick_start();
}

void VmProcess::tick_start() {
    starter_->on_time(now_ms());
    act_start();
    if (!starter_ || ending_) return;
    timer_ = loop_.call_after(timing_of(settings_.protection).look_ms * host::kNsPerMs / 4,
                              [this] { tick_start(); });
}

void VmProcess::act_start() {
    for (replica::StartAction& action : starter_->take_actions())
        std::visit([this](const auto& one) { carry_out_start(one); }, action);
}

void VmProcess::carry_out_start(const replica::LookAtTerm& action) {
    arbiter_->look(settings_.name, action.term, [this](const host::TermLook& look) {
        starter_->on_look(now_ms(), {.reachable = look.reachable,
                                     .latest = look.latest,
                                     .lease = look.lease,
                                     .free = look.free,
                                     .owner = look.owner,
                                     .why = look.detail});
        act_start();
    });
}

void VmProcess::carry_out_start(const replica::Claim& action) {
    arbiter_->claim(settings_.name, action.term, [this](const host::ClaimAnswer& answer) {
        starter_->on_arbiter(now_ms(), answer_of(answer.verdict), answer.detail);
        act_start();
    });
}

void VmProcess::carry_out_start(const replica::RenewTerm& action) {
    arbiter_->renew(settings_.name, action.term, [this](const host::RenewAnswer& answer) {
        starter_->on_renewed(now_ms(), answer_of(answer.outcome), answer.detail);
        act_start();
    });
}

void VmProcess::carry_out_start(const replica::StartGuest& action) {
    timer_.reset();
    owned_ = action.term;
    run_first(action.term, action.leased_from_ms);
}

void VmProcess::carry_out_start(const replica::GiveUp& action) {
    timer_.reset();
    fail(action.sentence);
}

void VmProcess::carry_out_start(const replica::Say& action) { log(action.level, "{}", action.sentence); }

// --- While it runs ---

void VmProcess::carry_out(replica::Claim& action) {
    CHECK(arbiter_, "a claim without an arbiter");
    arbiter_->claim(
        settings_.name, action.term,
        [this, term = action.term, alive = std::weak_ptr<bool>(alive_)](const host::ClaimAnswer& answer) {
            if (alive.expired() || !replica_) return;
            if (answer.verdict == host::Verdict::kUnreachable)
                log_warning("VM {}: {}", settings_.name, answer.detail);
            replica_->on_arbiter(now_ms(), term, answer_of(answer.verdict));
            act();
        });
}

void VmProcess::carry_out(replica::RenewTerm& action) {
    arbiter_->renew(
        settings_.name, action.term,
        [this, term = action.term, alive = std::weak_ptr<bool>(alive_)](const host::RenewAnswer& answer) {
            if (alive.expired() || ending_) return;
            replica_->on_renewed(now_ms(), term, answer_of(answer.outcome), answer.detail);
            act();
        });
}

/// Whoever starts the VM next need not watch a lease whose owner is done.
void VmProcess::set_free(Ending::Kind kind) {
    bool done =
        live_ ? kind == Ending::Kind::kPoweredOff : kind == Ending::Kind::kFailed && owned_ != Term(0);
    if (!arbiter_ || !done) return;
    ++*closing_;
    arbiter_->set_free(settings_.name, live_ ? replica_->term() : owned_,
                       [closing = closing_] { --*closing; });
}

}  // namespace lockstep::vmm
