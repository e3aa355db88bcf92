// SPDX-License-Identifier: Apache-2.0
// The MMU: page walks and the architectural TLB.
//
// The TLB here is part of the deterministic machine: it decides when accessed and dirty bits are written to
// guest page tables and when a stale translation is still used. Its contents are therefore a function of
// guest instructions alone: an entry is made by an architectural access (never by translation, look-ahead or
// a host's whim), and it goes only by INVLPG, INVPCID, MOV CR, a page fault at its address, a deterministic
// clear(), or when the whole TLB reaches a fixed size. Faster caches (the shadow maps of translate/) hold
// subsets of it, may drop anything at any time, and refill from here without a walk. They register as a
// TlbListener to hear what has become invalid.
//
// Address spaces. Entries belong to one of kSpaces spaces, each bound to a PCID; with all in use the one
// bound first is dropped and bound anew. Global pages of the upper half (bit 47 set) belong to all spaces:
// most kernels map themselves so, and alike everywhere; others give programs tables of their own that hold
// little of the kernel. Pages larger than 4 KiB are entered in pieces of 4 KiB, those of 2 MiB at once;
// INVLPG of any piece drops the whole large page.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <variant>
#include <vector>

#include "base/bytes.h"
#include "base/strong.h"
#include "cpu/cpu_state.h"
#include "memory/guest_memory.h"

namespace lockstep::cpu {

enum class Access : uint8_t { kRead, kWrite, kExecute };

/// One 4 KiB translation.
struct TlbEntry {
    uint64_t page = 0;  ///< guest-physical address of the page
    bool present : 1 = false;
    bool writable : 1 = false;  ///< the page tables allow writing (R/W of all levels)
    bool dirty : 1 = false;     ///< D has been set: a write needs no walk
    bool user : 1 = false;
    bool executable : 1 = false;
    bool fetched : 1 = false;   ///< reached by an instruction fetch: the page may be run without a walk
    bool accessed : 1 = false;  ///< reached by a read or write
    bool global : 1 = false;
    bool large : 1 = false;  ///< a piece of a 2 MiB or 1 GiB page
    bool ram : 1 = false;    ///< the page is RAM
};

inline constexpr unsigned kSpaces = 8;
/// Where a space is named: a global page of the upper half.
inline constexpr unsigned kEverySpace = kSpaces;

/// What a page of the TLB was used for: code, and perhaps data, or data alone.
enum class PageUse : uint8_t { kData, kCode };
inline PageUse use_of(const TlbEntry& entry) { return entry.fetched ? PageUse::kCode : PageUse::kData; }

/// Up to so many pages of the upper half that a space has for itself are dropped one by one.
inline constexpr size_t kFewPages = 64;

/// Hears which cached translations are no longer valid.
class TlbListener {
  public:
    virtual ~TlbListener() = default;
    /// One page of `space`, or of kEverySpace.
    virtual void page_dropped(unsigned space, GuestVirt page, PageUse use) = 0;
    /// All of the lower half of a space.
    virtual void space_dropped(unsigned space) = 0;
    /// All that a space has of the upper half for itself, which is more than kFewPages; with kEverySpace all of the
    /// upper half everywhere.
    virtual void upper_half_dropped(unsigned space) = 0;
    /// The current space has changed to `space`.
    virtual void space_entered(unsigned space) = 0;
};

class Mmu {
  public:
    Mmu(CpuState& state, memory::GuestMemory& memory);
    ~Mmu();

    void set_listener(TlbListener* listener) { listener_ = listener; }

    /// The translation of `at` for an access with the privilege of the present CPL (`user` true: CPL 3), or
    /// the exception it raises: #PF with its error code, #GP for a non-canonical address. Walks and sets A
    /// and D as needed. CR0.WP, SMEP/SMAP as far as the CPUID model shows them, NXE.
    std::variant<const TlbEntry*, Exception> translate(GuestVirt at, Access access, bool user);
    /// The host address of `at` where an access of this kind needs no walk and reaches RAM, as far as a
    /// glance tells; null: ask translate(). No side effects. A write needs a further look: whether the page
    /// has marks.
    template <Access kAccess>
    uint8_t* glance(GuestVirt at, bool user) const {
        const Glance& slot = glances_[kAccess == Access::kExecute][glance_index(at)];
        if (slot.tag != glance_tag(at)) return nullptr;
        const TlbEntry& entry = *slot.entry;
        bool allowed = kAccess == Access::kExecute ? entry.fetched && entry.executable
                       : kAccess == Access::kWrite ? entry.accessed && entry.dirty && entry.writable
                                                   : entry.accessed;
        return allowed && (!user || entry.user) ? slot.host + at.value() % kPageSize : nullptr;
    }
    /// The entry of `at`, whatever it allows; null where there is none. No side effects.
    const TlbEntry* cached(GuestVirt at) const;
    /// Calls `visit` for each page that the present space's lower half has an entry of; in no order. No side
    /// effects.
    void for_each_cached(const std::function<void(GuestVirt, const TlbEntry&)>& visit) const;
    /// Where a fetch at `at` by that privilege would read, by a walk without any side effect; empty where it
    /// would fault.
    std::optional<GuestPhys> peek_fetch(GuestVirt at, bool user) const;
    /// Where the page tables lead, whatever they allow; the TLB isn't asked. No side effects.
    std::optional<GuestPhys> peek(GuestVirt at) const;

    unsigned space() const { return space_; }
    /// Whether a space holds pages of the upper half for itself.
    bool has_own_upper_half(unsigned space) const;
    /// Calls `visit` for each of these pages where they are kFewPages at most; false: they are more.
    bool for_each_own_if_few(unsigned space, const std::function<void(GuestVirt, PageUse)>& visit) const;

    /// MOV to CR3: `value` without bit 63; `keep` (bit 63): entries of the PCID are kept.
    void load_cr3(uint64_t value, bool keep);
    /// INVLPG.
    void drop_page(GuestVirt at);
    /// INVPCID types 0..3 (Intel SDM vol. 2); the caller has checked its operands.
    void drop_pcid(unsigned type, uint16_t pcid, GuestVirt at);
    /// After a change of CR0.PG/WP, CR4.PGE/PAE/PCIDE/SMEP, EFER.NXE, a restore or a snapshot: everything
    /// goes.
    void clear();

  private:
    struct Impl;

    // Where RAM pages of the present space were found last, by data accesses and by fetches. An entry that is
    // dropped, or that now leads elsewhere, has lost `accessed` and `fetched`; when entries move in the
    // host's memory or the space changes, a new generation makes all tags differ.
    static constexpr size_t kGlances = 128;
    static constexpr uint64_t kGeneration = uint64_t{1} << 52;  ///< step; page numbers have 52 bits
    struct alignas(32) Glance {
        uint64_t tag = ~uint64_t{0};
        const TlbEntry* entry = nullptr;
        uint8_t* host = nullptr;  ///< of the page
    };
    static size_t glance_index(GuestVirt at) {
        uint64_t page = at.value() / kPageSize;
        return (page ^ page >> 8 ^ page >> 16) % kGlances;
    }
    uint64_t glance_tag(GuestVirt at) const { return at.value() / kPageSize | generation_; }
    void clear_glances();
    void enter_space(unsigned space);

    CpuState& state_;
    memory::GuestMemory& memory_;
    TlbListener* listener_ = nullptr;
    unsigned space_ = 0;
    uint64_t generation_ = 0;                              ///< a multiple of kGeneration
    std::array<std::array<Glance, kGlances>, 2> glances_;  ///< of data, of code
    std::unique_ptr<Impl> impl_;
};

}  // namespace lockstep::cpu
