// SPDX-License-Identifier: Apache-2.0
// Guest-physical memory.
//
// RAM starts at 0 and is interrupted by one hole below 4 GiB, where devices live:
//
//     0 ............ kLowRamEnd (3 GiB)   RAM
//     kLowRamEnd ... 4 GiB                devices (PCI windows, IOAPIC, LAPIC), and at its end the ROM, if there is one
//     4 GiB ........                      the rest of the RAM
//
// The whole guest-physical space is one host reservation, so that host address = base() + guest-physical
// address; the hole is PROT_NONE there. RAM begins as zeroes. It lies in a file in memory where the host gives
// one on huge pages (huge_file.h), so that pages of it can be mapped elsewhere, too; otherwise, and where it is
// wanted so, it is private.
//
// A page may carry marks, each of which says who must hear of a write before it happens:
//
//     code      it holds translated code; the listener throws its blocks away
//     fixed     it is ROM: writes do nothing
//     watched   a watcher (a clone of the memory, see clone.h) wants to know which pages are written
//
// Only a page without marks may be written to directly. Every other write to RAM (a device, a page walk, the
// boot loader) goes through write(), which tells whom it concerns; translated code never has a writable mapping
// of a marked page. Marks belong to the thread that runs the guest.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "base/bytes.h"
#include "base/check.h"
#include "base/result.h"
#include "base/strong.h"

namespace lockstep::memory {

inline constexpr uint64_t kLowRamEnd = 3ull << 30;
inline constexpr uint64_t kHighRamStart = 4ull << 30;

/// Wants to know which pages are written.
class WriteWatcher {
  public:
    virtual ~WriteWatcher() = default;
    /// Something is about to write to the page, for the first time since it was watched.
    virtual void first_write(GuestPhys page) = 0;
    /// All of RAM is about to be replaced. It is no longer watched afterwards.
    virtual void memory_replaced() = 0;
};

/// Whoever keeps in mind which pages may be written to directly.
class MarkListener {
  public:
    virtual ~MarkListener() = default;
    /// A write() is about to change a page with the mark `code`: its blocks are void, and so is the mark.
    virtual void code_written(GuestPhys page) = 0;
    /// All pages are watched from now on: what is known to be directly writable isn't any more.
    virtual void writes_watched() = 0;
};

/// Where RAM lies.
enum class Placing : uint8_t {
    kMappable,  ///< in a file in memory, where the host gives one
    kPrivate,   ///< in memory of this process alone, which a fork copies
};

class GuestMemory {
  public:
    /// `ram_size`: bytes, a multiple of 2 MiB.
    static Result<std::unique_ptr<GuestMemory>> create(uint64_t ram_size,
                                                       Placing placing = Placing::kMappable);
    ~GuestMemory();
    /// Before anything else: memory that can't be written to, whole pages, up to 4 GiB. It is in no saved state and in no
    /// hash.
    Result<void> add_rom(ByteSpan rom);
    GuestMemory(const GuestMemory&) = delete;
    GuestMemory& operator=(const GuestMemory&) = delete;

    uint64_t ram_size() const { return ram_size_; }
    uint64_t low_ram_size() const { return ram_size_ < kLowRamEnd ? ram_size_ : kLowRamEnd; }
    uint64_t high_ram_size() const { return ram_size_ - low_ram_size(); }
    uint64_t rom_start() const { return kHighRamStart - rom_size_; }
    bool is_rom(GuestPhys at) const { return at.value() >= rom_start() && at.value() < kHighRamStart; }
    /// The end of the highest RAM or ROM, as a guest-physical address.
    uint64_t physical_end() const {
        if (high_ram_size()) return kHighRamStart + high_ram_size();
        return rom_size_ ? kHighRamStart : low_ram_size();
    }

    /// Whether [at, at + size) is RAM, or ROM.
    bool is_ram(GuestPhys at, uint64_t size = 1) const {
        uint64_t start = at.value(), end = start + size;
        if (end < start) return false;
        return end <= low_ram_size() || (start >= kHighRamStart && end <= kHighRamStart + high_ram_size()) ||
               (start >= rom_start() && end <= kHighRamStart);
    }

    /// The host address of guest-physical address 0.
    uint8_t* base() const { return base_; }
    /// The host address of `at`, which must be RAM. Don't write through it but where directly_writable().
    uint8_t* host(GuestPhys at) const { return base_ + at.value(); }

    /// The file whose offsets are guest-physical addresses; -1: this memory can't be mapped a second time.
    int file() const { return file_; }

    /// Copies out of RAM; false, and nothing read, where any of it isn't RAM.
    bool read(GuestPhys at, std::span<uint8_t> out) const;
    /// Copies into RAM, and tells of it before whom the pages' marks name; false, and nothing written, where any
    /// of it isn't RAM.
    bool write(GuestPhys at, ByteSpan in);

    /// Little-endian numbers; a read outside RAM is all ones, a write there is dropped.
    template <typename T>
    T read_number(GuestPhys at) const {
        T value;
        if (!read(at, {reinterpret_cast<uint8_t*>(&value), sizeof value})) return static_cast<T>(~T{0});
        return value;
    }
    template <typename T>
    void write_number(GuestPhys at, T value) {
        write(at, {reinterpret_cast<const uint8_t*>(&value), sizeof value});
    }

    /// Whether a write to the page of `at`, which is RAM, needs nothing but the store.
    bool directly_writable(GuestPhys at) const { return !marks_[at.value() / kPageSize]; }
    /// Before a write to the page of `at`, unless by write(): tells the watcher. True: it may be written to
    /// directly from now on; false: it holds code, and write() is the way.
    bool prepare_write(GuestPhys at) {
        uint8_t& marks = marks_[at.value() / kPageSize];
        if (marks & kWatched) tell_watcher(at);
        return !marks;
    }
    void set_code(GuestPhys at, bool code) {
        uint8_t& marks = marks_[at.value() / kPageSize];
        marks = static_cast<uint8_t>(code ? marks | kCode : marks & ~kCode);
    }
    void set_mark_listener(MarkListener* listener) { listener_ = listener; }

    /// From now on `watcher` hears of the first write to each page; once more, where it was watching already.
    /// For the guest's thread, while no instruction is under way.
    void watch_writes(WriteWatcher& watcher);
    /// No effect where `watcher` isn't the one that hears.
    void unwatch_writes(const WriteWatcher& watcher);
    bool is_watched() const { return watcher_; }

    /// RAM as at power-on: zero, no code in it, unwatched. What was derived from it is void.
    void clear();
    /// Hash of all of RAM. Reads every byte: for checkpoints, not for hot paths.
    uint64_t hash() const;
    /// RAM as the records (page_records.h) of the pages that are not all zero, and their end; and back.
    void save(ByteWriter& out) const;
    Result<void> load(ByteReader& in);
    /// Calls `visit(start, end)` for the parts of RAM, in whole pages, that may hold anything but zeroes. Reads
    /// nothing; for any thread. What wasn't in use when it was called may be missing.
    void for_each_used_range(const std::function<void(uint64_t start, uint64_t end)>& visit) const;

  private:
    static constexpr uint8_t kCode = 1, kWatched = 2, kFixed = 4;
    static constexpr uint64_t kEightWatched = kWatched * 0x0101010101010101;

    GuestMemory(uint8_t* base, uint64_t reserved, uint64_t ram_size, Placing placing);
    bool map_ram(uint64_t start, uint64_t size);
    template <typename Change>
    void change_marks(Change change);
    void tell_watcher(GuestPhys at);
    void tell_listeners(uint64_t page);

    uint8_t* base_;
    uint64_t reserved_;
    uint64_t ram_size_;
    uint64_t rom_size_ = 0;
    int file_;
    std::vector<uint8_t> marks_;  // by page
    MarkListener* listener_ = nullptr;
    WriteWatcher* watcher_ = nullptr;
};

}  // namespace lockstep::memory
