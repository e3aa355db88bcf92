// SPDX-License-Identifier: Apache-2.0
#include "pair/cloning.h"

#include <algorithm>
#include <utility>

namespace lockstep::pair {

using replica::ClonePart;

std::string_view name_of(ClonePhase phase) {
    constexpr std::string_view kNames[] = {
#define LOCKSTEP_CLONE_PHASE(name, text) text,
        LOCKSTEP_CLONE_PHASES(LOCKSTEP_CLONE_PHASE)
#undef LOCKSTEP_CLONE_PHASE
    };
    return kNames[static_cast<size_t>(phase)];
}

void CloneOut::start(SharedBytes configuration) {
    stop();
    configuration_ = std::move(configuration);
    given_ = given_bytes_ = 0;
    round_ = 0;
    complete_ = false;
    phase_ = configuration_.span().empty() ? Phase::kMaking : Phase::kConfiguration;
}

void CloneOut::ready() {
    if (phase_ != Phase::kMaking) return;
    phase_ = Phase::kBeginning;
    guest_.start_clone(++number_);
}

void CloneOut::stop() {
    if (phase_ >= Phase::kBeginning && phase_ <= Phase::kRest) guest_.end_clone();
    phase_ = Phase::kNone;
    ++number_;
    configuration_ = {};
    state_ = Bytes();
}

bool CloneOut::on_round(uint64_t number) {
    bool awaited = phase_ == Phase::kBeginning || phase_ == Phase::kTurning;
    if (!awaited || number != number_) return false;
    phase_ = Phase::kRound;
    ++round_;
    return true;
}

bool CloneOut::on_cut(uint64_t number, Bytes state) {
    if (phase_ != Phase::kCutting || number != number_) return false;
    phase_ = Phase::kState;
    state_ = std::move(state);
    given_ = 0;
    return true;
}

CloneOut::Step CloneOut::next(size_t most) {
    Step step;
    if (phase_ == Phase::kConfiguration) {
        step = piece_of(configuration_, ClonePart::kConfiguration, most);
        if (given_ < configuration_.size()) return step;
        phase_ = Phase::kMaking;
    } else if (phase_ == Phase::kState) {
        step = piece_of(state_, ClonePart::kState, most);
        if (given_ < state_.size()) return step;
        state_ = Bytes();
        phase_ = Phase::kRest;
    } else if (phase_ == Phase::kRound || phase_ == Phase::kRest) {
        return pages(most);
    }
    return step;
}

CloneOut::Step CloneOut::piece_of(ByteSpan whole, ClonePart part, size_t most) {
    ByteSpan piece = whole.subspan(given_, std::min(most, whole.size() - given_));
    given_ += piece.size();
    given_bytes_ += piece.size();
    return {Step::What::kSend, part, Bytes(piece.begin(), piece.end())};
}

CloneOut::Step CloneOut::pages(size_t most) {
    bool skips = phase_ == Phase::kRest && hooks_ && hooks_->planted(replica::PlantedBug::kSkipRest);
    if (complete_ || skips) {
        guest_.end_clone();
        phase_ = Phase::kSent;
        return {Step::What::kSend, ClonePart::kEnd, {}};
    }
    Step step{Step::What::kSend, ClonePart::kPages, {}};
    switch (guest_.take_pages(step.bytes, most)) {
        case Taken::kMore:
            if (step.bytes.empty()) step.what = Step::What::kAgain;
            break;
        case Taken::kNextRound:
            phase_ = Phase::kTurning;
            guest_.next_round(++number_);
            break;
        case Taken::kCut:
            phase_ = Phase::kCutting;
            guest_.cut(++number_);
            break;
        case Taken::kComplete:
            complete_ = true;
            break;
        case Taken::kVoid:
            step.what = Step::What::kVoid;
            return step;
    }
    given_bytes_ += step.bytes.size();
    if (step.bytes.empty() && step.what == Step::What::kSend)
        return complete_ ? pages(most) : Step{Step::What::kWait, ClonePart::kPages, {}};
    return step;
}

}  // namespace lockstep::pair
