// SPDX-License-Identifier: Apache-2.0
// Guest-physical memory.
//
// RAM starts at 0 and is interrupted by one hole below 4 GiB, where devices live:
//
//     0 ............ kLowRamEnd (3 GiB)   RAM
//     kLowRamEnd ... 4 GiB                devices (PCI windows, IOAPIC, LAPIC)
//     4 GiB ........                      the rest of the RAM
//
// The whole guest-physical space is one host reservation, so that host address = base() + guest-physical
// address; the hole is PROT_NONE there. RAM begins as zeroes. It lies in a file in memory where the host gives
// one on huge pages (huge_file.h), so that pages of it can be mapped elsewhere, too; otherwise it is private.
//
// A page that holds translated code carries the mark `code`. Every write to RAM that doesn't come from
// translated code (a device, a page walk, the boot loader) goes through write(), which tells the code
// listener; translated code never has a writable mapping of a marked page.
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

class GuestMemory {
  public:
    /// `ram_size`: bytes, a multiple of 2 MiB.
    static Result<std::unique_ptr<GuestMemory>> create(uint64_t ram_size);
    ~GuestMemory();
    GuestMemory(const GuestMemory&) = delete;
    GuestMemory& operator=(const GuestMemory&) = delete;

    uint64_t ram_size() const { return ram_size_; }
    uint64_t low_ram_size() const { return ram_size_ < kLowRamEnd ? ram_size_ : kLowRamEnd; }
    uint64_t high_ram_size() const { return ram_size_ - low_ram_size(); }
    /// The end of the highest RAM, as a guest-physical address.
    uint64_t physical_end() const {
        return high_ram_size() ? kHighRamStart + high_ram_size() : low_ram_size();
    }

    /// Whether [at, at + size) is RAM.
    bool is_ram(GuestPhys at, uint64_t size = 1) const {
        uint64_t start = at.value(), end = start + size;
        if (end < start) return false;
        return end <= low_ram_size() || (start >= kHighRamStart && end <= kHighRamStart + high_ram_size());
    }

    /// The host address of guest-physical address 0.
    uint8_t* base() const { return base_; }
    /// The host address of `at`, which must be RAM. Don't write through it where the page may hold code.
    uint8_t* host(GuestPhys at) const { return base_ + at.value(); }

    /// The file whose offsets are guest-physical addresses; -1: this memory can't be mapped a second time.
    int file() const { return file_; }

    /// Copies out of RAM; false, and nothing read, where any of it isn't RAM.
    bool read(GuestPhys at, std::span<uint8_t> out) const;
    /// Copies into RAM and reports writes to code pages; false, and nothing written, where any of it isn't RAM.
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

    bool is_code(GuestPhys at) const { return code_pages_[at.value() / kPageSize]; }
    void set_code(GuestPhys at, bool code) { code_pages_[at.value() / kPageSize] = code; }
    /// Called before a write() changes a code page; the listener throws the page's blocks away.
    void set_code_listener(std::function<void(GuestPhys page)> listener) {
        code_listener_ = std::move(listener);
    }

    /// Hash of all of RAM. Reads every byte: for checkpoints, not for hot paths.
    uint64_t hash() const;
    /// RAM as (page number, contents) pairs of the pages that are not all zero, and back.
    void save(ByteWriter& out) const;
    Result<void> load(ByteReader& in);

  private:
    GuestMemory(uint8_t* base, uint64_t reserved, uint64_t ram_size);
    bool map_ram(uint64_t start, uint64_t size);
    /// Calls `visit(start, end)` for the parts of RAM that may hold anything but zeroes.
    template <typename Visit>
    void each_used_range(Visit visit) const;

    uint8_t* base_;
    uint64_t reserved_;
    uint64_t ram_size_;
    int file_;
    std::vector<uint8_t> code_pages_;
    std::function<void(GuestPhys)> code_listener_;
};

}  // namespace lockstep::memory
