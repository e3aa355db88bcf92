// SPDX-License-Identifier: Apache-2.0
// A small deterministic machine that stands in for the real one: it computes, reads the time, halts, sets
// timers, takes interrupts, writes and reads a disk, sends packets, asks for random bytes and prints to a
// console. Every input is folded into its state, so that a replay which applies one at the wrong instruction
// is noticed.
//
// What it prints: "<n>\n", n growing by one, about every 10 ms of its time; "echo <bytes>\n" for what is
// typed; "packet <n>\n" for a frame of the type for experiments (0x88b5), n being the 32 bits behind that. What it writes: sector (k mod sectors) holds k in its first 8 bytes, k growing by one; one write at
// a time. Typing 'q' switches it off, typing 'r' resets it.
#pragma once

#include <atomic>
#include <deque>

#include "bus/virtual_clock.h"
#include "machine/machine.h"
#include "memory/guest_memory.h"
#include "vmm/machine_factory.h"

namespace lockstep::vmm::testing {

struct ToyConfig {
    uint64_t seed = 1;
    uint64_t ram_bytes = 1 << 20;
    uint64_t disk_bytes = 0;  ///< 0: no disk
    bool network = false;
    bool halts = true;   ///< false: computes without a pause
    bool quiet = false;  ///< sends nothing to the network once it has printed kLinesUntilQuiet lines
    Bytes ballast = {};  ///< the initial RAM disk, which it doesn't use

    template <typename Codec>
    void fields(Codec& codec) {
        codec(seed, ram_bytes, disk_bytes, network, halts, quiet, ballast);
    }
};

class ToyMachine : public machine::Machine {
  public:
    ToyMachine(const ToyConfig& config, unsigned block, bus::OutputSink& sink);

    machine::Stop run(Icount until) override;
    void request_stop(translate::StopUrgency = translate::StopUrgency::kAtOnce) override {
        stop_requested_ = true;
    }
    void set_glance(uint64_t) override {}
    size_t input_room(uint16_t) const override { return input_room_; }
    void set_input_room(size_t bytes) { input_room_ = bytes; }
    Icount icount() const override { return state_.icount; }
    uint64_t guest_time_ns() const override { return clock_.tsc(state_.icount); }
    uint64_t next_timer_ns() const override { return state_.timer_ns; }
    void deliver(const record::Entry& entry) override;
    void reset() override;
    void save_state(ByteWriter& out) override;
    Result<void> load_state(ByteReader& in) override;
    memory::GuestMemory& memory() override { return *ram_; }
    machine::StateHash hash() override;
    machine::StateHash hash_part(uint64_t start, uint64_t size) override;
    std::vector<bus::Output> unanswered() const override;
    std::string describe() const override;
    void set_optimisations(translate::Optimisations) override {}
    bool take_memory_ahead() override { return false; }
    void give_memory_back() override {}
    void after_fork() override {}
    /// It interprets all there is.
    translate::EngineReport engine_report() const override {
        return {.counters = {.interpreted = state_.icount.value()}, .hot = {}, .cold = {}};
    }
    std::vector<translate::Departure> departures() const override { return {}; }
    void set_code_visitor(translate::CodeVisitor /*visitor*/) override {}

  private:
    struct Registers {
        Icount icount;
        uint64_t value = 0;  ///< everything that happens is folded into it
        uint64_t timer_ns = ~uint64_t{0};
        uint64_t lines = 0;  ///< printed
        uint64_t writes = 0;
        uint64_t write_pending = 0;  ///< request number; 0: none
        uint64_t requests = 0;
        bool halted = false;
        bool off = false;
        bool reset_wanted = false;
        std::deque<Bytes> waiting;              ///< inputs that no interrupt has fetched yet
        std::deque<bus::DiskRequest> disk;      ///< requests in flight
        std::deque<bus::RandomRequest> random;  ///< the same
        template <typename Codec>
        void fields(Codec& codec) {
            codec(icount, value, timer_ns, lines, writes, write_pending, requests, halted, off, reset_wanted,
                  waiting, disk, random);
        }
    };

    void take_interrupt();
    void fold(ByteSpan bytes);
    void step();
    void act(uint64_t choice);
    void print_line();
    void write_disk();
    void read_disk(uint64_t sector);
    void ask_disk(bus::DiskRequest request);
    void typed(const record::Entry& entry);
    void received(const record::Entry& entry);
    void print(const std::string& line);
    void answered(uint64_t number);

    ToyConfig config_;
    unsigned block_;
    bus::OutputSink& sink_;
    bus::VirtualClock clock_;
    Registers state_;
    std::unique_ptr<memory::GuestMemory> ram_;  // it uses config_.ram_bytes of it
    std::atomic<bool> stop_requested_ = false;
    size_t input_room_ = SIZE_MAX;
};

/// Makes toy machines from VM settings: the seed from the name, the disk's size from its file; "busy" in the
/// command line makes one that never halts, and options.block_limit is the length of its blocks.
class ToyFactory : public MachineFactory {
  public:
    Result<Bytes> configure(const VmSettings& settings) override;
    Result<std::unique_ptr<machine::Machine>> create(const SharedBytes& configuration,
                                                     const translate::EngineOptions& options,
                                                     bus::OutputSink& sink, uint64_t& ram_bytes) override;
};

}  // namespace lockstep::vmm::testing
