// SPDX-License-Identifier: Apache-2.0
// How far the backup is behind, and what the primary does about it (flow control).
//
// The primary sets a mark each time that it sends entries or its progress. A mark is passed when the backup
// says that it has executed beyond it. The age of the oldest mark not passed, when the
// backup says so, is the execution lag; the bytes of entries not executed are what fills the backup's buffer.
//
//     lag below lag_slow_ms            full speed
//     lag_slow_ms .. lag_most_ms       slower, in steps of a twentieth, at most one step each kStepMs
//     buffer full                      stopped, until half of it is free
#pragma once

#include <cstdint>
#include <deque>
#include <optional>

#include "base/strong.h"
#include "replica/timing.h"

namespace lockstep::replica {

class LagControl {
  public:
    static constexpr uint32_t kFullSpeed = 1000;
    static constexpr uint32_t kLeastSpeed = 100;
    static constexpr uint32_t kStep = 50;
    static constexpr uint64_t kStepMs = 50;

    LagControl() = default;
    /// Begins at `position`, all before it executed.
    LagControl(const Timing& timing, uint64_t buffer_bytes, LogPos position, Icount icount);

    /// Entries before `position` (with `bytes` new ones) were sent, and the primary is at `icount`.
    void sent(uint64_t now_ms, LogPos position, Icount icount, uint64_t bytes);
    /// The backup holds entries before `received` and has executed those before `replayed`, up to `icount`.
    void acknowledged(uint64_t now_ms, LogPos received, LogPos replayed, Icount icount);
    /// Looks whether the buffer is full; call it with every acknowledgement and heartbeat.
    void update_fill();
    /// The same, and adapts the speed: for a backup that executes.
    void update(uint64_t now_ms);

    uint64_t lag_ms() const { return lag_ms_; }
    uint64_t lag_icount() const {
        return last_.icount > replayed_icount_ ? last_.icount - replayed_icount_ : 0;
    }
    uint64_t buffered_bytes() const { return last_.total_bytes - executed_bytes_; }
    LogPos replayed() const { return replayed_; }
    uint32_t speed() const { return speed_; }
    /// Whether the buffer is (still) too full for the guest to run.
    bool full() const { return full_; }
    /// When the oldest entry was sent that the backup hasn't acknowledged; empty: it has them all.
    std::optional<uint64_t> unacknowledged_since() const;

  private:
    struct Mark {
        LogPos position;
        Icount icount;
        uint64_t sent_ms = 0;
        uint64_t total_bytes = 0;
    };

    uint32_t wanted_speed(uint64_t lag) const;

    Timing timing_;
    uint64_t buffer_bytes_ = 0;
    std::deque<Mark> marks_;  ///< not passed yet, oldest first
    Mark last_;
    LogPos received_, replayed_;
    Icount replayed_icount_;
    uint64_t executed_bytes_ = 0;
    uint64_t lag_ms_ = 0;
    uint64_t stepped_ms_ = 0;
    uint32_t speed_ = kFullSpeed;
    bool full_ = false;
};

}  // namespace lockstep::replica
