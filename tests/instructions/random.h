// SPDX-License-Identifier: Apache-2.0
// The random numbers of the tests: a seed gives the same case on every host and in every build.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace lockstep::instructions {

/// SplitMix64.
class Random {
  public:
    /// Neighbouring seeds give unrelated numbers.
    explicit Random(uint64_t seed) : state_(mix(seed + 1)) {}

    uint64_t next() { return mix(state_ += 0x9e3779b97f4a7c15); }
    /// 0 ... bound - 1.
    uint64_t below(uint64_t bound) {
        return static_cast<uint64_t>((static_cast<unsigned __int128>(next()) * bound) >> 64);
    }
    /// low ... high, both included.
    int64_t between(int64_t low, int64_t high) {
        return low + static_cast<int64_t>(below(static_cast<uint64_t>(high - low) + 1));
    }
    bool chance(unsigned percent) { return below(100) < percent; }
    template <typename T, size_t n>
    T pick(const std::array<T, n>& choices) {
        return choices[below(n)];
    }
    template <typename T>
    T pick(std::span<const T> choices) {
        return choices[below(choices.size())];
    }

  private:
    static uint64_t mix(uint64_t z) {
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
        z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
        return z ^ (z >> 31);
    }

    uint64_t state_;
};

}  // namespace lockstep::instructions
