// SPDX-License-Identifier: Apache-2.0
#include "pair/standstill.h"

namespace lockstep::pair {

using replica::StopReason;

void Standstill::stop(StopReason reason) {
    if (reason == StopReason::kBufferFull && state_ != State::kRuns) return;
    reason_ = reason;
    state_ = State::kPausing;
    guest_.pause(++number_);
}

void Standstill::start() {
    state_ = State::kRuns;
    guest_.resume();
}

void Standstill::on_paused(uint64_t number, Icount icount) {
    if (state_ != State::kPausing || number != number_) return;
    icount_ = icount;
    if (reason_ == StopReason::kHandOver)
        quieten();
    else
        state_ = State::kStands;
}

void Standstill::quieten() {
    if (outside_.in_flight() > 0) {
        state_ = State::kDraining;
        return outside_.drain();
    }
    state_ = State::kSettling;
    completions_ = outside_.completions();
    guest_.settle(number_);
}

void Standstill::on_drained() {
    if (state_ == State::kDraining) quieten();
}

std::optional<Icount> Standstill::on_settled(uint64_t number) {
    if (state_ != State::kSettling || number != number_) return std::nullopt;
    if (outside_.completions() != completions_ || outside_.in_flight() > 0) {
        quieten();
        return std::nullopt;
    }
    state_ = State::kStands;
    return icount_;
}

}  // namespace lockstep::pair
