// SPDX-License-Identifier: Apache-2.0
#include "pair/cloning.h"

#include <algorithm>
#include <utility>

namespace lockstep::pair {

void CloneOut::start(SharedBytes configuration, Bytes state) {
    configuration_ = std::move(configuration);
    state_ = std::move(state);
    given_ = 0;
    leaves_ = true;
}

ByteSpan CloneOut::next(size_t most) {
    if (!leaves_) return {};
    bool in_state = given_ >= configuration_.size();
    ByteSpan rest = in_state ? ByteSpan(state_).subspan(given_ - configuration_.size())
                             : configuration_.span().subspan(given_);
    if (rest.empty()) stop();
    ByteSpan part = rest.first(std::min(most, rest.size()));
    given_ += part.size();
    return part;
}

void CloneOut::stop() {
    leaves_ = false;
    configuration_ = {};
    state_ = Bytes();
}

void CloneIn::store(uint64_t offset, ByteSpan bytes, size_t expected) {
    if (offset == 0) {
        state_ = Bytes();
        state_.reserve(expected);
    }
    state_.insert(state_.end(), bytes.begin(), bytes.end());
}

Bytes CloneIn::take() { return std::exchange(state_, Bytes()); }

}  // namespace lockstep::pair
