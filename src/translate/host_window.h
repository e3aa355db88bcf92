// SPDX-License-Identifier: Apache-2.0
// The window: pages of one guest program, mapped in this process at the addresses that the program uses.
//
// GOALS. Code that runs in the window uses guest addresses as they are: the host's MMU finds the page, so an
// access costs what it costs natively, misaligned and across pages too. No address that a guest can form
// reaches anything of ours.
//
// TERMS. User addresses are divided into regions of 64 MiB. A region is OPEN when this process has nothing of
// its own in it nor in its two neighbours; all three are reserved then, so that nothing of ours ever will.
// Code in the window looks at the region before an access. That look is a load from the TABLE, one byte for
// every 16 KiB of addresses, which faults where the region isn't open: no comparison, no branch, no flags,
// and nothing waits for its result.
//
//     shrx  r13, address, r10         r10 = table + 14
//     movzx r13d, [r10 + r13 - 14]    faults unless the region is open
//     the guest's own instruction     faults unless the page is in the window
//
//     table    0                 page for 64 MiB                                16 GiB
//              |  no access  | readable | readable |  no access  |   ...   | no access (the kernel's half)
//
// An address with wrong upper bits may look at anything, or nothing; the access itself faults then.
//
// An access may lie kReach away from the address that was looked at: not beyond the neighbours, nor so far
// below zero that it meets the host kernel's vsyscall page.
//
// LIFE CYCLE. A page is mapped when its program is given the window and the TLB (cpu::Mmu) holds it, or when
// an access has faulted (Vcpu::Impl::window_fault): readable or writable as far as the TLB has it. As the
// shadow maps, the window is a subset of the TLB, and what the TLB drops goes from here before user code runs
// again. Regions stay open.
#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "base/strong.h"
#include "cpu/mmu.h"
#include "memory/guest_memory.h"

namespace lockstep::translate {

class HostWindow {
  public:
    explicit HostWindow(memory::GuestMemory& memory);
    ~HostWindow();
    HostWindow(const HostWindow&) = delete;
    HostWindow& operator=(const HostWindow&) = delete;

    /// How far an access may lie from the address that was looked at.
    static constexpr int64_t kReach = 8 << 20;

    /// Whether this host can have a window at all.
    bool possible() const { return table_ != 0; }
    /// The value of r10 for code in the window: the table's address, with SHRX's count in the low bits.
    uint64_t table_base() const { return table_ + kGrainBits; }
    static constexpr int32_t table_displacement() { return -kGrainBits; }

    /// Whether a host address lies in the table: the fault of a look at a region that isn't open.
    bool in_table(uint64_t host) const { return host - table_ < kTableBytes; }
    /// Opens the region whose look has faulted at `host`; false: it must stay closed.
    bool open_region_of(uint64_t host) { return open_region((host - table_) / kPageSize); }
    /// The same for the region of a guest virtual page.
    bool open_for(GuestVirt page) { return open_region(page.value() / kRegionBytes); }

    static constexpr uint64_t kLongestRun = 2 << 20;  ///< bytes; a run doesn't cross its multiples
    /// Pages that follow one another in the guest's virtual and in its physical memory.
    struct Run {
        uint64_t first = 0;     ///< guest virtual page number
        uint64_t count = 1;     ///< pages
        uint64_t physical = 0;  ///< guest-physical address of the first
        bool writable = false;
        /// Whether another one may become the end of this one.
        bool continued_by(const Run& next) const {
            return next.first == first + count && next.first * kPageSize % kLongestRun != 0 &&
                   next.physical == physical + count * kPageSize && next.writable == writable;
        }
    };
    /// Maps RAM pages that the TLB holds. False where the host refuses.
    bool map(const Run& run);
    /// Whether a page is mapped like that already.
    bool holds(uint64_t page, uint64_t physical, bool writable) const {
        auto known = pages_.find(page);
        return known != pages_.end() && known->second.physical == physical &&
               known->second.writable == writable;
    }
    /// Takes the right to write from every mapping of a guest-physical page: it has become a code page.
    void forbid_writes(GuestPhys page);
    /// Takes effect with apply_drops().
    void drop_page(GuestVirt page);
    void drop_all() { drop_all_ = !pages_.empty(); }
    /// Before user code runs: what was dropped goes.
    void apply_drops() {
        if (has_drops()) unmap_dropped();
    }
    bool has_drops() const { return drop_all_ || !dropped_.empty(); }
    size_t page_count() const { return pages_.size(); }

  private:
    static constexpr unsigned kRegionBits = 26, kAddressBits = 48;
    static constexpr int kGrainBits = 14;
    static constexpr uint64_t kRegionBytes = uint64_t{1} << kRegionBits;
    static constexpr uint64_t kRegions = uint64_t{1} << (kAddressBits - 1 - kRegionBits);  // user half
    static constexpr uint64_t kTableBytes = uint64_t{1} << (kAddressBits - kGrainBits);
    /// Mappings that a process may have are few (Linux: 65,530); the rest of it needs some, too.
    static constexpr int64_t kMostMappings = 48'000;

    struct Page {
        uint64_t physical = 0;
        bool writable = false;
        bool dropped = false;  ///< it is in dropped_
    };
    enum class Region : uint8_t { kReserved, kOpen, kRefused };

    bool reserve(uint64_t region);
    bool open_region(uint64_t region);
    void unmap(uint64_t first_page, uint64_t count);
    void unmap_dropped();
    void enter(uint64_t number, const Page& page);
    void take_out(uint64_t number);
    int64_t mappings_of(uint64_t number, const Page& page) const;

    memory::GuestMemory& memory_;
    uint64_t table_ = 0;
    std::unordered_map<uint64_t, Region> regions_;          // that were asked for
    std::unordered_map<uint64_t, Page> pages_;              // by guest virtual page number
    std::unordered_multimap<uint64_t, uint64_t> writable_;  // guest virtual page numbers by physical address
    std::vector<uint64_t> dropped_;                         // page numbers, to be unmapped
    bool drop_all_ = false;
    int64_t mappings_ = 0;  // of the host's
};

}  // namespace lockstep::translate
