// SPDX-License-Identifier: Apache-2.0
// The platform of the test guests: no devices but one output port, and interrupts at given icounts.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <vector>

#include "cpu/platform.h"

namespace lockstep::guests {

/// Ports that a test guest may write. Others are dropped, and read as all ones.
inline constexpr uint16_t kReportPort = 0xe0;  ///< four bytes: appended to reports()
inline constexpr uint16_t kLeavePort = 0xe4;   ///< asks the vCPU to leave

class TestPlatform final : public cpu::Platform {
  public:
    /// An interrupt becomes pending as soon as `at` instructions have retired; see advance().
    void schedule_interrupt(Icount at, uint8_t vector) { schedule_[at.value()].push_back(vector); }
    /// An interrupt is pending from now on.
    void raise_interrupt(uint8_t vector) { pending_.push_back(vector); }
    /// To be called when the vCPU has stopped at `now`: makes what is due pending.
    void advance(Icount now) {
        while (!schedule_.empty() && schedule_.begin()->first <= now.value()) {
            for (uint8_t vector : schedule_.begin()->second) pending_.push_back(vector);
            schedule_.erase(schedule_.begin());
        }
    }
    /// Back to the first state.
    void clear() {
        schedule_.clear();
        pending_.clear();
        reports_.clear();
        leave_ = false;
    }
    const std::vector<uint32_t>& reports() const { return reports_; }
    bool interrupts_left() const { return !schedule_.empty() || !pending_.empty(); }

    uint64_t read_mmio(GuestPhys, unsigned) override { return ~uint64_t{0}; }
    void write_mmio(GuestPhys, unsigned, uint64_t) override {}
    uint32_t read_port(uint16_t, unsigned) override { return ~uint32_t{0}; }
    void write_port(uint16_t port, unsigned, uint32_t value) override {
        if (port == kReportPort) reports_.push_back(value);
        if (port == kLeavePort) leave_ = true;
    }
    bool interrupt_pending() const override { return !pending_.empty(); }
    uint8_t acknowledge_interrupt() override {
        uint8_t vector = pending_.front();
        pending_.pop_front();
        return vector;
    }
    std::optional<uint64_t> read_msr(uint32_t) override { return std::nullopt; }
    bool write_msr(uint32_t, uint64_t) override { return false; }
    uint64_t task_priority() const override { return task_priority_; }
    void set_task_priority(uint64_t value) override { task_priority_ = value; }
    TimeLine tsc_line() const override {
        return {.base = 1000, .start = Icount(0), .rate = uint64_t{3} << 31};
    }
    Icount next_event() const override {
        return schedule_.empty() ? kNeverIcount : Icount(schedule_.begin()->first);
    }
    bool leave_requested() const override { return leave_; }

  private:
    std::map<uint64_t, std::vector<uint8_t>> schedule_;
    std::deque<uint8_t> pending_;
    std::vector<uint32_t> reports_;
    uint64_t task_priority_ = 0;
    bool leave_ = false;
};

}  // namespace lockstep::guests
