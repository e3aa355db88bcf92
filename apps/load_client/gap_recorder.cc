// SPDX-License-Identifier: Apache-2.0
#include "load_client/gap_recorder.h"

#include <algorithm>
#include <cmath>

namespace lockstep::load_client {
namespace {

double seconds(Clock::time_point t) { return std::chrono::duration<double>(t.time_since_epoch()).count(); }
double milliseconds(Clock::duration d) { return std::chrono::duration<double, std::milli>(d).count(); }

}  // namespace

void GapRecorder::start() {
    std::lock_guard lock(mutex_);
    running_ = true;
    last_ = Clock::now();
}

void GapRecorder::asks() {
    std::lock_guard lock(mutex_);
    asked_ = Clock::now();
}

void GapRecorder::event(uint64_t resent) {
    std::lock_guard lock(mutex_);
    Clock::time_point now = Clock::now();
    double gap = milliseconds(now - last_);
    last_ = now;
    count_++;
    double bucket = std::max(0.0, std::ceil(8 * std::log2(std::max(gap * 1000, 1.0))));
    histogram_[std::min(kBuckets - 1, static_cast<size_t>(bucket))]++;
    longest_ms_ = std::max(longest_ms_, gap);
    longest_since_mark_ms_ = std::max(longest_since_mark_ms_, gap);
    // Of a new connection all that was sent again counts.
    uint64_t newly_resent = resent >= resent_ ? resent - resent_ : resent;
    resent_ = resent;
    if (gap >= long_gap_ms_) long_gaps_.push_back({seconds(now), gap, seconds(asked_), newly_resent});
}

void GapRecorder::pause() {
    std::lock_guard lock(mutex_);
    running_ = false;
}

void GapRecorder::mark() {
    std::lock_guard lock(mutex_);
    longest_since_mark_ms_ = 0;
}

double GapRecorder::open_gap_ms() const { return running_ ? milliseconds(Clock::now() - last_) : 0; }

double GapRecorder::longest_ms() const {
    std::lock_guard lock(mutex_);
    return std::max(longest_ms_, open_gap_ms());
}

double GapRecorder::longest_since_mark_ms() const {
    std::lock_guard lock(mutex_);
    return std::max(longest_since_mark_ms_, open_gap_ms());
}

double GapRecorder::percentile_ms(double share) const {
    uint64_t wanted = static_cast<uint64_t>(std::ceil(share * static_cast<double>(count_))), seen = 0;
    for (size_t i = 0; i < kBuckets; i++) {
        seen += histogram_[i];
        if (seen >= wanted && seen > 0) return std::exp2(static_cast<double>(i) / 8) / 1000;
    }
    return 0;
}

nlohmann::json GapRecorder::report() const {
    std::lock_guard lock(mutex_);
    auto long_gaps = nlohmann::json::array();
    for (const LongGap& gap : long_gaps_)
        long_gaps.push_back(
            {{"end_s", gap.end_s}, {"gap_ms", gap.gap_ms}, {"asked_s", gap.asked_s}, {"resent", gap.resent}});
    return {{"longest_ms", std::max(longest_ms_, open_gap_ms())},
            {"longest_since_mark_ms", std::max(longest_since_mark_ms_, open_gap_ms())},
            {"open_ms", open_gap_ms()},
            {"median_ms", percentile_ms(0.5)},
            {"p99_ms", percentile_ms(0.99)},
            {"long_gaps", std::move(long_gaps)}};
}

}  // namespace lockstep::load_client
