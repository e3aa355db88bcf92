// SPDX-License-Identifier: Apache-2.0
// A deterministic machine of a hundred lines, which stands in for the real one.
//
// Its state is a chain of hashes over all that has happened to it, with a key-value store on a disk:
//
//   - every kTimer instructions the chain goes on, and now and then a packet is sent
//   - it has a memory of some pages, a number in each, which it writes and reads all the time
//   - a "put" request is written to the disk; the answer is sent when the write has ended
//   - a "get" request is read from the disk; the machine compares what comes with what it has written
//
// Operations on the same sector wait for each other, so a read must return exactly what was written last.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <set>
#include <vector>

#include "base/bytes.h"
#include "base/strong.h"
#include "record/entry.h"

namespace lockstep::sim {

inline constexpr uint64_t kSectors = 8;
inline constexpr uint64_t kPages = 16;

enum class Operation : uint8_t { kPut, kGet };

/// An entry of the toy's log; the meaning of the numbers depends on the kind:
///   kNetworkReceive  request, sector, operation
///   kDiskCompletion  disk request, value
///   kPowerControl    0: off, 1: reset
///   kOutput          output number
///   kStateHash       hash
struct ToyEntry {
    record::EntryKind kind{};
    Icount icount;
    std::array<uint64_t, 3> numbers{};

    void encode(ByteWriter& out) const;
    static ToyEntry decode(ByteReader& in);
    bool operator==(const ToyEntry&) const = default;
};

enum class EffectKind : uint8_t { kPacket, kDiskWrite, kDiskRead };

/// What leaves the machine.
struct ToyOutput {
    uint64_t number = 0;  ///< counts the machine's outputs
    EffectKind kind{};
    uint64_t request = 0;  ///< packet: the request that it answers, 0 for none; disk: the disk request
    uint64_t sector = 0;
    uint64_t value = 0;  ///< packet: the chain; write: what is written
    bool operator==(const ToyOutput&) const = default;
};

/// Hears of what happens to a machine's pages.
class PageWatcher {
  public:
    virtual ~PageWatcher() = default;
    virtual void before_write(uint64_t page) = 0;
    /// All of them are about to be replaced.
    virtual void replaced() = 0;
};

class ToyMachine {
  public:
    static constexpr uint64_t kTimer = 20'000;

    /// Runs to `until` (not beyond a power-off).
    void run(Icount until);
    /// Applies an input at the present icount.
    void deliver(const ToyEntry& entry);
    /// What came out since the last call.
    std::vector<ToyOutput> take_outputs();

    Icount icount() const { return icount_; }
    bool off() const { return off_; }
    uint64_t hash() const;
    /// A read returned what had not been written: acknowledged data was lost, or somebody else wrote.
    bool saw_wrong_data() const { return wrong_data_; }
    /// Requests whose effect is in the state.
    const std::set<uint64_t>& applied() const { return applied_; }
    /// What each sector must hold, once nothing is in flight.
    const std::array<uint64_t, kSectors>& sectors() const { return sectors_; }
    /// Disk requests that were issued and have not ended, in order.
    std::vector<ToyOutput> in_flight() const;

    const std::array<uint64_t, kPages>& pages() const { return pages_; }
    void load_page(uint64_t page, uint64_t value) { pages_.at(page) = value; }
    /// From now on; null: nobody.
    void watch(PageWatcher* watcher) { watcher_ = watcher; }

    /// All but the pages.
    void save_state(ByteWriter& out) const;
    void load_state(ByteReader& in);

  private:
    struct Work {
        uint64_t request = 0;
        Operation operation{};
    };

    void write(uint64_t page, uint64_t value);
    void reset();
    void emit(EffectKind kind, uint64_t request, uint64_t sector, uint64_t value);
    void start(uint64_t sector);
    void complete(uint64_t disk_request, uint64_t value);

    Icount icount_;
    uint64_t chain_ = 1;
    uint64_t next_output_ = 0;
    uint64_t next_disk_request_ = 1;
    bool off_ = false;
    bool wrong_data_ = false;
    std::set<uint64_t> applied_;
    std::array<uint64_t, kSectors> sectors_{};
    std::array<std::deque<Work>, kSectors> waiting_;  ///< the first of each is being done
    std::map<uint64_t, ToyOutput> in_flight_;         ///< by disk request
    std::vector<ToyOutput> outputs_;
    std::array<uint64_t, kPages> pages_{};
    PageWatcher* watcher_ = nullptr;
};

}  // namespace lockstep::sim
