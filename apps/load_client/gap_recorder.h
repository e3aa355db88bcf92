// SPDX-License-Identifier: Apache-2.0
// Records how long a client waited between two signs of life of the guest.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <nlohmann/json.hpp>
#include <vector>

namespace lockstep::load_client {

using Clock = std::chrono::steady_clock;

/// The gaps between events (answers, acknowledged writes, pieces of a download). The long ones are kept one
/// by one, all of them in a histogram. Used by one thread that records and one that reads.
class GapRecorder {
  public:
    /// Gaps of at least this length are kept one by one. Before start().
    void keep_from(double ms) { long_gap_ms_ = ms; }
    /// The work begins (again): the time before is no gap.
    void start();
    /// The client asks the guest for something.
    void asks();
    /// The guest has answered. `resent`: segments that the client's system has sent again on this connection.
    void event(uint64_t resent);
    /// The work pauses on the client's own account: what follows until start() is no gap.
    void pause();
    /// Forgets the longest gap "since the mark".
    void mark();

    /// Longest gaps, the one that is open now, median and tail, in ms; the long gaps with their end on the steady
    /// clock, in seconds, when the client had asked for the answer that ended it, and how many segments had been sent
    /// again meanwhile.
    nlohmann::json report() const;
    double longest_ms() const;
    double longest_since_mark_ms() const;

  private:
    static constexpr size_t kBuckets = 256;
    struct LongGap {
        double end_s;
        double gap_ms;
        double asked_s;
        uint64_t resent;
    };

    double open_gap_ms() const;
    double percentile_ms(double share) const;

    double long_gap_ms_ = 50;
    mutable std::mutex mutex_;
    bool running_ = false;
    Clock::time_point last_;
    Clock::time_point asked_;
    uint64_t resent_ = 0;  ///< as last told
    double longest_ms_ = 0;
    double longest_since_mark_ms_ = 0;
    uint64_t count_ = 0;
    std::array<uint64_t, kBuckets> histogram_{};  ///< bucket i: gaps up to 2^(i/8) microseconds
    std::vector<LongGap> long_gaps_;
};

}  // namespace lockstep::load_client
