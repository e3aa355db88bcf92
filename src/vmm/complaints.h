// SPDX-License-Identifier: Apache-2.0
// What a host's daemon has against those who connect: an owner asks again every second, an attacker as often as he likes. So
// each sentence is said once in ten minutes, and few in all.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>

namespace lockstep::vmm {

class Complaints {
  public:
    static constexpr uint64_t kPauseNs = 600ull * 1'000'000'000;
    static constexpr size_t kMost = 50;  ///< in that time

    /// What is to be said of it now; none: it was said lately, or too much was. `now_ns` of any clock that only goes on.
    std::optional<std::string> hear(const std::string& sentence, uint64_t now_ns);

  private:
    struct Said {
        std::string sentence;
        uint64_t at_ns;
    };
    std::deque<Said> said_;
};

}  // namespace lockstep::vmm
