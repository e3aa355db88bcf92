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
// TLB's listener. Each half keeps a journal of what was filled, so that emptying it costs what was used; a long
// journal is given up, and the pieces that hold anything are moved aside (pieces_aside.h).
#pragma once

#include <array>
#include <cstdint>
#include <set>
#include <unordered_map>
#include <vector>

#include "base/strong.h"
#include "cpu/mmu.h"
#include "memory/guest_memory.h"
#include "memory/large_array.h"
#include "translate/pieces_aside.h"
#include "translate/shared_lookups.h"

namespace lockstep::translate {

/// Which of CpuState::engine_slots holds the write map's address.
inline constexpr unsigned kWriteMapSlot = kMostGroups;
/// Which of them holds the exit record of the last indirect branch.
inline constexpr unsigned kBranchSlot = kWriteMapSlot + 1;
static_assert(kBranchSlot < std::tuple_size_v<decltype(cpu::CpuState::engine_slots)>);

/// What of half a map was filled since it was empty: which entries, as long as they are few, or which pieces.
class FillJournal {
  public:
    void note(uint64_t index) {
        if (indices_.size() < kMost) return indices_.push_back(index);
        if (pieces_.empty())
            for (uint64_t noted : indices_) pieces_.insert(piece_of(noted));
        pieces_.insert(piece_of(index));
    }
    bool is_complete() const { return pieces_.empty(); }
    bool is_empty() const { return indices_.empty(); }
    const std::vector<uint64_t>& indices() const { return indices_; }
    /// Where it isn't complete: PiecesAside::kPieceBytes each, counted from the one in which the map begins.
    const std::set<uint64_t>& pieces() const { return pieces_; }
    void clear() {
        indices_.clear();
        pieces_.clear();
    }

    /// From the start of its first piece to the map's first entry; makes read map + kUserBias end in 0x230c.
    static constexpr uint64_t kMapOffset = 0x2308;

  private:
    static constexpr size_t kMost = 32768;
    static uint64_t piece_of(uint64_t index) { return (kMapOffset + index * 8) / PiecesAside::kPieceBytes; }

    std::vector<uint64_t> indices_;
    std::set<uint64_t> pieces_;
};

class ShadowMap {
  public:
    explicit ShadowMap(memory::GuestMemory& memory);
    ~ShadowMap();
    ShadowMap(const ShadowMap&) = delete;
    ShadowMap& operator=(const ShadowMap&) = delete;

    /// The value of r10 for code of this mode, in the current space.
    uint64_t read_base(bool user) const { return address(reads_, space_) + (user ? kUserBias : kKernelBias); }
    /// What code finds in kWriteMapSlot.
    uint64_t write_base() const { return address(writes_, space_); }
    /// Displacement that takes r10 back to the read map's start.
    static constexpr int32_t read_displacement(bool user) { return user ? -kUserBias : -kKernelBias; }

    /// Enters the page of `at`, which the TLB maps to the RAM page `tlb_entry.page`, for reading, and for writing
    /// where `tlb_entry` allows that without further work.
    void fill(GuestVirt at, const cpu::TlbEntry& tlb_entry);
    /// Takes every write entry of a guest-physical page away: it has become a code page.
    void forbid_writes(GuestPhys page);
    /// Takes all write entries away.
    void forbid_all_writes();

    /// Before user code runs: takes away the supervisor's pages of the current lower half (early boot, EFI),
    /// which the map of the two modes would share.
    void enter_user() {
        if (!may_enter_user()) drop_supervisor();
    }
    /// Whether enter_user() has nothing to do.
    bool may_enter_user() const { return supervisor_[space_].is_empty(); }

    /// `space`: for pages of the upper half also cpu::kEverySpace.
    void drop_page(unsigned space, GuestVirt page);
    void drop_space(unsigned space);
    void drop_upper_half(unsigned space);
    /// From now on each space has an upper half of its own, empty at first; or all have one again.
    void part_upper_halves();
    void join_upper_halves();
    void enter_space(unsigned space);
    /// In the child of a fork: what it shares with its parent is the parent's; it begins with empty maps.
    void leave_shared_halves();

    /// Gives the host a piece back of what was emptied, in a fraction of a millisecond.
    void give_piece_back() { aside_.give_one_back(); }
    void give_all_back() { aside_.give_all_back(); }

  private:
    static constexpr int32_t kUserBias = 4;
    static constexpr int32_t kKernelBias = 0x104;
    static constexpr uint64_t kMapBytes = uint64_t{1} << (36 + 3);
    static constexpr uint64_t kMapStride = kMapBytes + PiecesAside::kPieceBytes;
    /// One piece of an emptied map goes back to the host with every so many misses.
    static constexpr unsigned kFillsForAPiece = 256;

    /// One of the two maps that each space has.
    struct Map {
        unsigned number;   ///< in its space
        const char* name;  ///< of its shared memory
        std::array<FillJournal, cpu::kSpaces> lower;
        std::array<FillJournal, cpu::kSpaces> upper;  ///< by upper_of()
    };

    /// A write entry: its space and the guest virtual page, in one word that isn't 0.
    using WriteUse = uint64_t;
    static WriteUse write_use(unsigned space, uint64_t index) { return index << 4 | space << 1 | 1; }
    /// Of a guest-physical page. Most have two at most: the program's and the kernel's. 0: none.
    using WriteUses = std::array<WriteUse, 2>;

    uint64_t address(const Map& map, unsigned space) const {
        return region_ + (2 * space + map.number) * kMapStride + FillJournal::kMapOffset;
    }
    static uint64_t index_of(GuestVirt at) { return at.value() >> 12 & ((uint64_t{1} << 36) - 1); }
    static bool is_upper(uint64_t index) { return index >> 35; }
    /// In the page that holds the end of the lower half and the start of the upper.
    static bool is_border(uint64_t index) { return !is_upper(index) && is_upper(index + kPageSize / 8); }
    uint64_t& entry(const Map& map, unsigned space, uint64_t index) const {
        return reinterpret_cast<uint64_t*>(address(map, space))[index];
    }
    void forget_entry(unsigned space, uint64_t index) {
        entry(reads_, space, index) = entry(writes_, space, index) = 0;
    }
    void map_lower_half(const Map& map, unsigned space);
    void map_upper_halves();
    void map_shared_halves(const Map& map);
    void map_own_upper_half(const Map& map, unsigned space);
    void note(Map& map, uint64_t index);
    void empty_lower_half(Map& map, unsigned space);
    /// `number`: upper_of() some space.
    void empty_upper_half(Map& map, unsigned number);
    void move_aside(const Map& map, unsigned space, const std::set<uint64_t>& pieces, uint64_t start,
                    uint64_t end, PiecesAside::Kind kind);
    void clear_border(const Map& map, unsigned space);
    /// Where the upper half of `space` is kept account of.
    unsigned upper_of(unsigned space) const { return apart_ ? space : 0; }
    void drop_one(unsigned space, uint64_t index);
    void drop_supervisor();
    void remember_write(uint64_t page, uint64_t index);
    uint64_t& entry_of(WriteUse use) const { return entry(writes_, use >> 1 & 7, use >> 4); }
    /// Whether that entry leads to the guest-physical page.
    bool leads_to(WriteUse use, uint64_t page) const;

    memory::GuestMemory& memory_;
    uint64_t region_ = 0;
    uint64_t region_bytes_ = 0;
    unsigned space_ = 0;
    bool apart_ = false;  ///< each space has an upper half of its own
    Map reads_{.number = 0, .name = "lockstep-read-map", .lower = {}, .upper = {}};
    Map writes_{.number = 1, .name = "lockstep-write-map", .lower = {}, .upper = {}};
    std::array<FillJournal, cpu::kSpaces> supervisor_;
    FillJournal filled_border_;
    PiecesAside aside_;
    unsigned fills_ = 0;
    memory::LargeArray<WriteUses> write_uses_;                             // by guest-physical page number
    std::unordered_map<uint64_t, std::vector<WriteUse>> more_write_uses_;  // the third and further ones
};

}  // namespace lockstep::translate
