// SPDX-License-Identifier: Apache-2.0
// The host's side of a simulated process: where outputs go, and the way to the disk as host/ has it.
//
// Disk requests wait for overlapping ones (disk/request_queue.h), for the end of the loop's round, and for room
// in the kernel's ring. A process is stopped meanwhile as anywhere; what counts is the last look, right before
// the kernel gets a write.
#pragma once

#include <cstdint>
#include <deque>
#include <map>

#include "disk/request_queue.h"
#include "pair/ports.h"
#include "sim/toy_machine.h"

namespace lockstep::sim {

class Process;
class World;

class Outside : public pair::Outside {
  public:
    Outside(World& world, Process& process) : world_(world), process_(process) {}

    /// A request that the kernel has got under this number has ended.
    void disk_done(uint64_t number, uint64_t value);
    bool lets_inputs_in() const { return live_; }
    LogPos acknowledged() const { return acknowledged_; }
    /// A backup has gone live, and has sent those of its last packets again that it wants to: `may_act`.
    void packets_sent_again(bool may_act);

    void submit(const bus::Output& output, LogPos entry) override;
    void issue_kept() override;
    void show(const bus::Output& output) override;
    size_t in_flight() const override { return queue_.size(); }
    uint64_t completions() const override { return completions_; }
    void drain() override;
    void acknowledged(LogPos before) override { acknowledged_ = before; }
    void let_in(uint16_t device, Bytes packets) override;
    void let_inputs_in() override { live_ = true; }
    void go_live() override;
    void stop() override;

  private:
    struct Request {
        ToyOutput output;
        LogPos entry;
    };
    enum class LastLook : uint8_t { kTaken, kForgotten };
    void end_round_soon();
    void fill_ring(LastLook look);
    void check_drained();

    World& world_;
    Process& process_;
    bool live_ = false;
    LogPos acknowledged_;  ///< entries that the backup has
    bool stopped_ = false;
    bool draining_ = false;
    uint64_t completions_ = 0;
    disk::RequestQueue queue_;
    std::map<uint64_t, Request> requests_;  ///< by their numbers in the queue
    uint64_t next_number_ = 1;
    unsigned with_kernel_ = 0;
    bool round_ends_soon_ = false;

    bool sends_again_ = false;     ///< from go_live() to packets_sent_again()
    std::deque<ToyOutput> shown_;  ///< packets of the replay, the last ones
};

}  // namespace lockstep::sim
