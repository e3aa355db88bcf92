// SPDX-License-Identifier: Apache-2.0
// The shadow maps: from a guest virtual page straight to host memory, for translated code.
//
// GOALS. One load finds the page of an access; nothing to compare. A miss is a zero entry. No address that a
// guest can form reaches host memory outside its RAM.
//
// TERMS. A map is a linear array of 8-byte entries, indexed by bits 47:12 of the address; an entry is
// `delta = host address of the page - guest virtual address of the page`, or 0: not known. There is a read
// map and a write map for each address space (see cpu/mmu.h); a write entry exists only where a write needs
// nothing but the store: page writable, dirty bit set, without marks (memory/guest_memory.h).
//
//     space 0:  [ lower half: its own pages | upper half: shared memory, the same in all spaces ]
//     space 1:  [ lower half                | upper half                                       ]   ...
//
// A guest whose spaces hold different pages in the upper half gets an upper half of its own for each
// (part_upper_halves()).
//
// HOW CODE USES THEM (build_memory.cc). The index is taken from the address with BEXTR, whose control
// byte pair (start 12, length 35 or 36) is the low half of the register that also holds the read map's
// address:
//
//     user mode    r10 = read map +   4 = ...230c   35 bits: an upper-half address aliases a lower entry,
//                                                            and the sum leaves the host's user half
//     kernel mode  r10 = read map + 0x104 = ...240c   36 bits
//
// A sum `address + delta` of a valid entry with an address that has any wrong upper bits keeps those bits, so
// it is not a host user address and faults. The write map's address is in a slot of CpuState
// (kWriteMapSlot). A segment register would save its load, but a host's kernel that doesn't know FSGSBASE
// takes microseconds to change its base.
//
// LIFE CYCLE. Entries are subsets of the architectural TLB's (cpu::Mmu) and go with them: this class is the
// TLB's listener. Each map keeps a journal of what was filled, so that dropping a space costs what was used; a
// long journal is given up, and the host asked for an empty half in place of the full one.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "base/strong.h"
#include "cpu/mmu.h"
#include "memory/guest_memory.h"
#include "translate/shared_lookups.h"

namespace lockstep::translate {

/// Which of CpuState::engine_slots holds the write map's address.
inline constexpr unsigned kWriteMapSlot = kMostGroups;
/// Which of them holds the exit record of the last indirect branch.
inline constexpr unsigned kBranchSlot = kWriteMapSlot + 1;
static_assert(kBranchSlot < std::tuple_size_v<decltype(cpu::CpuState::engine_slots)>);

/// Which entries of half a map were filled since it was empty, as long as they are few.
class FillJournal {
  public:
    void note(uint64_t index) {
        if (indices_.size() < kMost)
            indices_.push_back(index);
        else
            complete_ = false;
    }
    bool is_complete() const { return complete_; }
    bool is_empty() const { return indices_.empty(); }
    const std::vector<uint64_t>& indices() const { return indices_; }
    void clear() {
        indices_.clear();
        complete_ = true;
    }

  private:
    static constexpr size_t kMost = 32768;
    std::vector<uint64_t> indices_;
    bool complete_ = true;
};

class ShadowMap {
  public:
    explicit ShadowMap(memory::GuestMemory& memory);
    ~ShadowMap();
    ShadowMap(const ShadowMap&) = delete;
    ShadowMap& operator=(const ShadowMap&) = delete;

    /// The value of r10 for code of this mode, in the current space.
    uint64_t read_base(bool user) const { return read_map(space_) + (user ? kUserBias : kKernelBias); }
    /// What code finds in kWriteMapSlot.
    uint64_t write_base() const { return write_map(space_); }
    /// Displacement that takes r10 back to the read map's start.
    static constexpr int32_t read_displacement(bool user) { return user ? -kUserBias : -kKernelBias; }

    /// Enters the page of `at`, which the TLB maps to the RAM page `entry.page`, for reading, and for writing
    /// where `entry` allows that without further work.
    void fill(GuestVirt at, const cpu::TlbEntry& entry);
    /// Takes every write entry of a guest-physical page away: it has become a code page.
    void forbid_writes(GuestPhys page);
    /// Takes all write entries away.
    void forbid_all_writes();

    /// Before user code runs: takes away the supervisor's pages of the current lower half (early boot, EFI),
    /// which the map of the two modes would share.
    void enter_user() {
        if (!supervisor_[space_].is_empty()) drop_supervisor();
    }

    /// `space`: for pages of the upper half also cpu::kEverySpace.
    void drop_page(unsigned space, GuestVirt page);
    void drop_space(unsigned space);
    void drop_upper_half(unsigned space);
    /// From now on each space has an upper half of its own, empty at first; or all have one again.
    void part_upper_halves();
    void join_upper_halves();
    void enter_space(unsigned space);

  private:
    static constexpr int32_t kUserBias = 4;
    static constexpr int32_t kKernelBias = 0x104;
    static constexpr uint64_t kMapBytes = uint64_t{1} << (36 + 3);
    static constexpr uint64_t kMapOffset = 0x2308;  // makes read map + kUserBias end in 0x230c

    struct WriteUse {
        uint64_t page_number;  // of the guest virtual address, 36 bits
        unsigned space;
        bool operator==(const WriteUse&) const = default;
    };

    uint64_t read_map(unsigned space) const { return region_ + space * kMapStride * 2 + kMapOffset; }
    uint64_t write_map(unsigned space) const { return read_map(space) + kMapStride; }
    static uint64_t index_of(GuestVirt at) { return at.value() >> 12 & ((uint64_t{1} << 36) - 1); }
    static bool is_upper(uint64_t index) { return index >> 35; }
    /// In the page that holds the end of the lower half and the start of the upper.
    static bool is_border(uint64_t index) { return !is_upper(index) && is_upper(index + kPageSize / 8); }
    uint64_t& read_entry(unsigned space, uint64_t index) const {
        return reinterpret_cast<uint64_t*>(read_map(space))[index];
    }
    uint64_t& write_entry(unsigned space, uint64_t index) const {
        return reinterpret_cast<uint64_t*>(write_map(space))[index];
    }
    static void map_lower_half(uint64_t map);
    void map_upper_halves();
    void map_shared_halves(uint64_t (ShadowMap::*map)(unsigned space) const, const char* name);
    static void map_own_upper_half(uint64_t map);
    void clear_border(unsigned space);
    /// Where the upper half of `space` is kept account of.
    unsigned upper_of(unsigned space) const { return apart_ ? space : 0; }
    void drop_one(unsigned space, uint64_t index);
    void remember_fill(uint64_t index);
    void drop_supervisor();
    void remember_write(uint64_t page, uint64_t index);

    static constexpr uint64_t kMapStride = kMapBytes + (2ull << 20);

    memory::GuestMemory& memory_;
    uint64_t region_ = 0;
    uint64_t region_bytes_ = 0;
    unsigned space_ = 0;
    bool apart_ = false;  ///< each space has an upper half of its own
    std::array<FillJournal, cpu::kSpaces> filled_;
    std::array<FillJournal, cpu::kSpaces> supervisor_;
    std::array<FillJournal, cpu::kSpaces> filled_upper_;  // by upper_of()
    FillJournal filled_border_;
    std::vector<std::vector<WriteUse>> write_uses_;  // by guest-physical page
};

}  // namespace lockstep::translate
