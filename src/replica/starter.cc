// SPDX-License-Identifier: Apache-2.0
#include "replica/starter.h"

#include <utility>

namespace lockstep::replica {

Starter::Starter(std::string vm_name, const Timing& timing, Caution caution, Hooks* hooks)
    : vm_name_(std::move(vm_name)), timing_(timing), caution_(caution), hooks_(hooks) {}

std::vector<StartAction> Starter::take_actions() { return std::exchange(actions_, {}); }

bool Starter::heedless() const {
    return caution_ == Caution::kForce || (hooks_ && hooks_->planted(PlantedBug::kStartUnwatched));
}

void Starter::on_time(uint64_t now_ms) {
    now_ms_ = now_ms;
    if (step_ == Step::kWatching && !asked_ && (!seen_ || now_ms_ >= asked_ms_ + timing_.look_ms)) {
        asked_ = true;
        asked_ms_ = now_ms_;
        actions_.push_back(LookAtTerm{});
    }
    if (step_ == Step::kWaiting && !renewing_ && now_ms_ >= renewed_ms_ + timing_.renew_ms) renew();
}

void Starter::on_look(uint64_t now_ms, const TermView& view) {
    now_ms_ = now_ms;
    asked_ = false;
    if (step_ != Step::kWatching && step_ != Step::kLastLook) return;
    if (!view.reachable)
        return give_up(fmt::format("the arbiter of VM {} is out of reach: {}", vm_name_, view.why));
    if (step_ == Step::kWatching && !seen_) return first_look(view);
    bool same = view.lease == watched_.lease && (step_ == Step::kLastLook || view.latest == watched_.latest);
    if (step_ == Step::kLastLook) {
        if (same || view.free) return start();
        step_ = Step::kWaiting;
        wait_until_ms_ = now_ms_ + timing_.watch_ms;
        actions_.push_back(
            Say{LogLevel::kWarning,
                fmt::format("{} was still alive when its term was taken from it; its guest ends, and "
                            "this start waits {} ms for that",
                            view.owner, timing_.watch_ms)});
        return;
    }
    if (!same && !view.free)
        return give_up(
            fmt::format("VM {} runs already, in term {}: {} keeps renewing it at the arbiter; stop it there, "
                        "or use it there",
                        vm_name_, view.latest.value(), view.owner.empty() ? "its owner" : view.owner));
    watched_ = view;
    // What counts is the time between what was seen first and the question that found it unchanged.
    if (view.free || asked_ms_ >= since_ms_ + timing_.watch_ms) claim();
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
    actions_.push_back(RenewTerm{watched_.latest + 1});
}

void Starter::on_renewed(uint64_t now_ms, Renewal answer, const std::string& detail) {
    now_ms_ = now_ms;
    renewing_ = false;
    if (step_ != Step::kRenewing && step_ != Step::kWaiting) return;
    if (answer == Renewal::kSuperseded)
        return give_up(fmt::format("VM {} was taken over while it started: {}", vm_name_, detail));
    if (answer == Renewal::kUnreachable)
        return give_up(fmt::format("the arbiter of VM {} is out of reach: {}", vm_name_, detail));
    if (step_ == Step::kWaiting) {
        if (renewed_ms_ >= wait_until_ms_) start();
        return;
    }
    if (watched_.latest == Term(0) || watched_.free || heedless()) return start();
    step_ = Step::kLastLook;
    actions_.push_back(LookAtTerm{watched_.latest});
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
