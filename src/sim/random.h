// SPDX-License-Identifier: Apache-2.0
// The simulator's only source of chance: xoshiro256** (Blackman and Vigna), seeded by splitmix64. The same on
// every host and with every standard library, which std::random is not.
#pragma once

#include <bit>
#include <cstdint>

namespace lockstep::sim {

/// One step of splitmix64; also a good mixer of a number.
constexpr uint64_t split_mix(uint64_t& state) {
    uint64_t z = (state += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

/// A hash of two numbers.
constexpr uint64_t mix(uint64_t a, uint64_t b) {
    uint64_t state = a ^ std::rotl(b * 0x9e3779b97f4a7c15, 31);
    return split_mix(state);
}

class Random {
  public:
    explicit Random(uint64_t seed) {
        for (uint64_t& word : state_) word = split_mix(seed);
    }

    uint64_t next() {
        uint64_t result = std::rotl(state_[1] * 5, 7) * 9;
        uint64_t t = state_[1] << 17;
        state_[2] ^= state_[0];
        state_[3] ^= state_[1];
        state_[1] ^= state_[2];
        state_[0] ^= state_[3];
        state_[2] ^= t;
        state_[3] = std::rotl(state_[3], 45);
        return result;
    }
    /// A number of [least, most].
    uint64_t between(uint64_t least, uint64_t most) { return least + next() % (most - least + 1); }
    /// True `permille` times in a thousand.
    bool chance(uint64_t permille) { return next() % 1000 < permille; }

  private:
    uint64_t state_[4];
};

}  // namespace lockstep::sim
