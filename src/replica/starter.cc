// SPDX-License-Identifier: Apache-2.0
#include "replica/starter.h"

#include <utility>

namespace lockstep::replica {

Starter::Starter(std::string vm_name, std::string host, const Timing& timing, Caution caution, Hooks* hooks)
    : vm_name_(std::move(vm_name)),
      host_(std::move(host)),
      timing_(timing),
      caution_(caution),
      hooks_(hooks) {}

std::vector<StartAction> Starter::take_actions() { return std::exchange(actions_, {}); }

bool Starter::heedless() const {
    return caution_ == Caution::kForce || (hooks_ && hooks_->planted(PlantedBug::kStartUnwatched));
}

void Starter::on_time(uint64_t now_ms) {
    now_ms_ = now_ms;
    bool looks = step_ == Step::kWatching || step_ == Step::kYielding;
    if (looks && !asked_ && (!seen_ || now_ms_ >= asked_ms_ + timing_.look_ms)) look();
    bool renews = step_ == Step::kWaiting || step_ == Step::kYielding;
    if (renews && !renewing_ && now_ms_ >= renewed_ms_ + timing_.renew_ms) renew();
    if (step_ == Step::kYielding && now_ms_ >= wait_until_ms_)
        give_up(fmt::format(
            "VM {} is protected by hosts {} and {}, which still owned it when this start began and have not "
            "reached the arbiter since; they end when they do: start it then, or see that it runs on "
            "neither and start it there",
            vm_name_, watched_.hosts.owner, watched_.hosts.backup));
}

/// At the newest lease while watching, at the old owner's from the claim on.
void Starter::look() {
    asked_ = true;
    asked_ms_ = now_ms_;
    actions_.push_back(LookAtTerm{step_ == Step::kWatching ? Term(0) : watched_.latest});
}

void Starter::on_look(uint64_t now_ms, const TermView& view) {
    now_ms_ = now_ms;
    asked_ = false;
    bool looks = step_ == Step::kWatching || step_ == Step::kLastLook;
    if (step_ == Step::kYielding && view.reachable) return look_at_pair(view);
    if (!looks) return;
    if (!view.reachable)
        return give_up(fmt::format("the arbiter of VM {} is out of reach: {}", vm_name_, view.why));
    if (step_ == Step::kLastLook) return last_look(view);
    return seen_ ? watch(view) : first_look(view);
}

/// A pair that may go on without the arbiter, of which this host has no part.
bool Starter::is_of_others(const TermView& view) const {
    return !view.free && !view.hosts.empty() && !view.hosts.has(host_);
}

void Starter::watch(const TermView& view) {
    bool same = view.lease == watched_.lease && view.latest == watched_.latest;
    if (!same && !view.free)
        return give_up(
            fmt::format("VM {} runs already, in term {}: {} keeps renewing it at the arbiter; stop it there, "
                        "or use it there",
                        vm_name_, view.latest.value(), view.owner.empty() ? "its owner" : view.owner));
    watched_ = view;
    // What counts is the time between what was seen first and the question that found it unchanged.
    bool over = asked_ms_ >= since_ms_ + timing_.watch_ms;
    if (over && is_of_others(view))
        return give_up(fmt::format(
            "VM {} is protected by hosts {} and {}, which may go on with it though they don't reach the "
            "arbiter: start it on one of these, or, once it is certain that it runs on neither, "
            "with --force",
            vm_name_, view.hosts.owner, view.hosts.backup));
    if (view.free || over) claim();
}

void Starter::last_look(const TermView& view) {
    if (view.lease == watched_.lease || view.free) return start();
    watched_.hosts = view.hosts;
    bool yields = is_of_others(view);
    step_ = yields ? Step::kYielding : Step::kWaiting;
    wait_until_ms_ = now_ms_ + timing_.watch_ms;
    actions_.push_back(
        Say{LogLevel::kWarning,
            fmt::format("{} was still alive when its term was taken from it; its guest ends, and "
                        "this start waits {} ms for {}",
                        view.owner, timing_.watch_ms, yields ? "it to say so" : "that")});
}

/// The pair's owner has found the newer term, and its backup can go live in none. What it said counts if it is seen
/// in this side's own time: its lease is renewed once more before the guest starts.
void Starter::look_at_pair(const TermView& view) {
    if (!view.free) return;
    watched_.free = true;
    step_ = Step::kRenewing;
    if (!renewing_) renew();
}

void Starter::first_look(const TermView& view) {
    seen_ = true;
    watched_ = view;
    since_ms_ = now_ms_;
    if (view.latest == Term(0) || view.free || heedless()) return claim();
    actions_.push_back(
        Say{LogLevel::kInfo,
            fmt::format("waits {:.0f} s for proof that nobody owns VM {}: term {} is {}'s, which may "
                        "still renew it; --force doesn't wait",
                        static_cast<double>(timing_.watch_ms) / 1000, vm_name_, view.latest.value(),
                        view.owner.empty() ? "somebody" : view.owner)});
}

void Starter::claim() {
    step_ = Step::kClaiming;
    actions_.push_back(Claim{watched_.latest + 1});
}

void Starter::on_arbiter(uint64_t now_ms, ArbiterAnswer answer, const std::string& detail) {
    now_ms_ = now_ms;
    if (step_ != Step::kClaiming) return;
    switch (answer) {
        case ArbiterAnswer::kWon:
            step_ = Step::kRenewing;
            return renew();
        case ArbiterAnswer::kLost:
            return give_up(
                fmt::format("VM {} was started elsewhere at the same moment, by {}", vm_name_, detail));
        case ArbiterAnswer::kUnreachable:
            return give_up(fmt::format("the arbiter of VM {} is out of reach: {}", vm_name_, detail));
    }
}

void Starter::renew() {
    renewing_ = true;
    renewed_ms_ = now_ms_;
    actions_.push_back(RenewTerm{watched_.latest + 1, std::nullopt});
}

void Starter::on_renewed(uint64_t now_ms, Renewal answer, const std::string& detail) {
    now_ms_ = now_ms;
    renewing_ = false;
    if (step_ != Step::kRenewing && step_ != Step::kWaiting && step_ != Step::kYielding) return;
    if (answer == Renewal::kSuperseded)
        return give_up(fmt::format("VM {} was taken over while it started: {}", vm_name_, detail));
    if (answer == Renewal::kUnreachable)
        return give_up(fmt::format("the arbiter of VM {} is out of reach: {}", vm_name_, detail));
    if (step_ == Step::kWaiting) {
        if (renewed_ms_ >= wait_until_ms_) start();
        return;
    }
    if (step_ == Step::kYielding) return;
    if (watched_.latest == Term(0) || watched_.free || heedless()) return start();
    step_ = Step::kLastLook;
    look();
}

void Starter::start() {
    step_ = Step::kOver;
    actions_.push_back(StartGuest{watched_.latest + 1, renewed_ms_});
}

void Starter::give_up(const std::string& sentence) {
    step_ = Step::kOver;
    actions_.push_back(GiveUp{sentence});
}

}  // namespace lockstep::replica
