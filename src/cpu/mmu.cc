// SPDX-License-Identifier: Apache-2.0
// The architectural TLB and the page walker. The rules of what an entry may be used for:
//
//   - `accessed` and `fetched` say how the page has been reached. An access of the other kind walks again,
//     even where the accessed bit in memory is known to be set, so that what the TLB holds depends on the
//     guest's own accesses and not on when its code was translated.
//   - An entry that lacks a permission never raises a fault by itself: the tables are walked first.
//   - A second walk refreshes the entry. Where it takes something away, or finds another page, listeners hear
//     that the old entry has gone. A walk that ends in a page fault drops the entry (Intel SDM vol. 3,
//     4.10.4.1).
//   - Accessed and dirty bits are written when the whole walk has succeeded, and not before.
//   - When the leaves of all spaces reach kMaxLeaves, everything is dropped: a bound on the host's memory
//     that the guest's own accesses reach at the same instruction everywhere.
#include "cpu/mmu.h"

#include "base/check.h"
#include "cpu/tlb_store.h"
#include "x86/control.h"
#include "x86/paging.h"

namespace lockstep::cpu {

namespace {

using namespace x86;

constexpr size_t kMaxLeaves = 16384;
constexpr uint16_t kNoPcid = 0xffff;
constexpr uint64_t kHalfPages = uint64_t{1} << 36;
constexpr uint64_t kGigabyteRegions = 512;

uint64_t page_number(GuestVirt at) { return at.value() >> 12 & (kHalfPages - 1); }
GuestVirt address_of(uint64_t page, bool upper_half) {
    return GuestVirt((upper_half ? ~(kHalfPages - 1) | page : page) << 12);
}
bool is_upper(GuestVirt at) { return at.value() >> 63; }

/// What a walk found, before anything is written.
struct Path {
    std::array<GuestPhys, 4> at{};
    std::array<uint64_t, 4> entries{};
    unsigned count = 0;
    unsigned level = 0;  ///< of the last entry read
    bool present = true, reserved = false;
    bool writable = true, user = true, executable = true;

    uint64_t last() const { return entries[count - 1]; }
    /// The 4 KiB page of `linear`.
    uint64_t page(uint64_t linear) const {
        uint64_t offset_mask = (uint64_t{1} << level_shift(level)) - 1;
        return ((last() & kPteAddress & ~offset_mask) | (linear & offset_mask)) & ~kPageMask;
    }
};

}  // namespace

struct Mmu::Impl {
    struct Space {
        explicit Space(TlbLeafPool& pool) : lower(pool), upper(pool) {}
        uint16_t pcid = kNoPcid;
        TlbStore lower;
        TlbStore upper;  ///< what isn't global
    };
    /// Entries, and the space that listeners know them by.
    struct Place {
        TlbStore& store;
        unsigned space;
    };

    explicit Impl(Mmu& owner) : mmu(owner), global(pool) {
        spaces.reserve(kSpaces);
        for (unsigned i = 0; i < kSpaces; ++i) spaces.emplace_back(pool);
    }

    Mmu& mmu;
    TlbLeafPool pool;
    std::vector<Space> spaces;
    TlbStore global;              ///< of the upper half
    unsigned next_victim = 0;     ///< the space bound first
    bool lower_global = false;    ///< a global page was entered in a lower half
    bool gigabyte_pages = false;  ///< a piece of a 1 GiB page was entered

    Place own(unsigned space, bool upper_half) {
        return {upper_half ? spaces[space].upper : spaces[space].lower, space};
    }
    Place everywhere() { return {global, kEverySpace}; }
    /// The entry of `at` in the present space.
    TlbEntry* find(GuestVirt at) {
        Space& space = spaces[mmu.space_];
        if (!is_upper(at)) return space.lower.find(page_number(at));
        TlbEntry* entry = global.find(page_number(at));
        return entry || space.upper.empty() ? entry : space.upper.find(page_number(at));
    }

    uint64_t read_entry(GuestPhys at) const {
        uint64_t value =
            ~uint64_t{0};  // what a bus without an answer reads as; as an entry it has reserved bits set
        if (mmu.memory_.is_ram(at, 8)) std::memcpy(&value, mmu.memory_.host(at), 8);
        return value;
    }
    Path walk(uint64_t linear) const;
    void set_bits(Path& path, bool dirty);
    const TlbEntry* enter(GuestVirt at, const Path& path, Access access);
    void enter_piece(GuestVirt at, unsigned space, TlbLeaf& leaf, unsigned index, TlbEntry fresh);
    bool permits(const TlbEntry& entry, Access access, bool user) const;
    bool path_permits(const Path& path, Access access, bool user) const;
    void drop_replaced(Place from, TlbLeaf& leaf, uint64_t page, bool large);
    const TlbEntry* identity(GuestVirt at);
    Exception page_fault(GuestVirt at, const Path& path, Access access, bool user);

    void drop_piece(Place from, uint64_t page, bool upper_half);
    void drop_large(Place from, TlbLeaf* leaf, bool upper_half);
    void drop_page(Place from, uint64_t page, bool upper_half);
    void drop_space(unsigned space);
    void drop_global();
    void bound_memory();
    unsigned find_space(uint16_t pcid) const;
    unsigned bind_space(uint16_t pcid);
};

Path Mmu::Impl::walk(uint64_t linear) const {
    Path path;
    bool nxe = mmu.state_.efer & kEferNxe;
    uint64_t table = mmu.state_.cr3 & kPteAddress;
    for (unsigned level = kTopLevel;; --level) {
        GuestPhys at(table + level_index(linear, level) * 8);
        uint64_t entry = read_entry(at);
        path.at[path.count] = at;
        path.entries[path.count++] = entry;
        path.level = level;
        if (!(entry & kPtePresent)) {
            path.present = false;
            return path;
        }
        if ((entry & reserved_bits(entry, level)) || (!nxe && (entry & kPteNoExecute))) {
            path.reserved = true;
            return path;
        }
        path.writable &= (entry & kPteWritable) != 0;
        path.user &= (entry & kPteUser) != 0;
        path.executable &= !(entry & kPteNoExecute);
        if (maps_page(entry, level)) return path;
        table = entry & kPteAddress;
    }
}

/// Sets the accessed bits of a path, and the dirty bit of its page.
void Mmu::Impl::set_bits(Path& path, bool dirty) {
    for (unsigned i = 0; i < path.count; ++i) {
        bool last = i + 1 == path.count;
        uint64_t wanted = path.entries[i] | kPteAccessed | (last && dirty ? kPteDirty : 0);
        if (wanted == path.entries[i]) continue;
        path.entries[i] = wanted;
        if (mmu.memory_.directly_writable(path.at[i]))
            std::memcpy(mmu.memory_.host(path.at[i]), &wanted, sizeof wanted);
        else
            mmu.memory_.write_number(path.at[i], wanted);
    }
}

bool Mmu::Impl::permits(const TlbEntry& entry, Access access, bool user) const {
    if (user && !entry.user) return false;
    switch (access) {
        case Access::kRead:
            return entry.accessed;
        case Access::kWrite:
            return entry.accessed && entry.dirty && (entry.writable || (!user && !(mmu.state_.cr0 & kCr0Wp)));
        case Access::kExecute:
            return entry.fetched && entry.executable;
    }
    return false;
}

bool Mmu::Impl::path_permits(const Path& path, Access access, bool user) const {
    if (!path.present || path.reserved || (user && !path.user)) return false;
    if (access == Access::kWrite) return path.writable || (!user && !(mmu.state_.cr0 & kCr0Wp));
    return access != Access::kExecute || path.executable;
}

// Of a large page all pieces in the leaf are entered: one walk for 512 pages.
const TlbEntry* Mmu::Impl::enter(GuestVirt at, const Path& path, Access access) {
    bound_memory();
    TlbEntry fresh;
    fresh.page = path.page(at.value());
    fresh.present = true;
    fresh.writable = path.writable;
    fresh.user = path.user;
    fresh.executable = path.executable;
    fresh.dirty = (path.last() & kPteDirty) != 0;
    fresh.fetched = access == Access::kExecute;
    fresh.accessed = access != Access::kExecute;
    fresh.global = (path.last() & kPteGlobal) && (mmu.state_.cr4 & kCr4Pge);
    fresh.large = path.level > 0;

    bool upper_half = is_upper(at), everywhere_alike = upper_half && fresh.global;
    Place to = everywhere_alike ? everywhere() : own(mmu.space_, upper_half);
    TlbLeaf& leaf = to.store.leaf_for_insert(page_number(at) / kLeafPages);
    if (path.level == 2) leaf.gigabyte = gigabyte_pages = true;
    lower_global |= fresh.global && !upper_half;
    // One entry for a page: global ones are found first.
    if (upper_half) {
        Place other = everywhere_alike ? own(mmu.space_, true) : everywhere();
        if (TlbLeaf* same = other.store.leaf(page_number(at) / kLeafPages))
            drop_replaced(other, *same, page_number(at), fresh.large);
    }
    auto wanted = static_cast<unsigned>(page_number(at) % kLeafPages);
    if (!fresh.large) {
        enter_piece(at, to.space, leaf, wanted, fresh);
        return &leaf.entries[wanted];
    }
    mmu.clear_glances();  // of other pieces, which may have been elsewhere before
    uint64_t first = at.value() & ~(kLeafPages * kPageSize - 1);
    uint64_t start = fresh.page - wanted * kPageSize;
    for (unsigned index = 0; index < kLeafPages; ++index) {
        fresh.page = start + index * kPageSize;
        enter_piece(GuestVirt(first + index * kPageSize), to.space, leaf, index, fresh);
    }
    return &leaf.entries[wanted];
}

/// What an entry elsewhere, of the page or of its large page, would hide, or be hidden by.
void Mmu::Impl::drop_replaced(Place from, TlbLeaf& leaf, uint64_t page, bool large) {
    if (!large) return drop_piece(from, page, true);
    leaf.for_each(
        [&](unsigned index, TlbEntry&) { drop_piece(from, leaf.region * kLeafPages + index, true); });
}

void Mmu::Impl::enter_piece(GuestVirt at, unsigned space, TlbLeaf& leaf, unsigned index, TlbEntry fresh) {
    fresh.ram = mmu.memory_.is_ram(GuestPhys(fresh.page), kPageSize);
    TlbEntry& entry = leaf.entries[index];
    if (entry.present) {
        bool same = entry.page == fresh.page && entry.writable <= fresh.writable &&
                    entry.user <= fresh.user && entry.executable <= fresh.executable &&
                    entry.dirty <= fresh.dirty && entry.global == fresh.global;
        if (same) {
            fresh.fetched |= entry.fetched;
            fresh.accessed |= entry.accessed;
            fresh.large |= entry.large;
        } else if (mmu.listener_) {
            mmu.listener_->page_dropped(space, GuestVirt(at.value() & ~kPageMask), use_of(entry));
        }
    }
    entry = fresh;
    leaf.used[index / 64] |= uint64_t{1} << index % 64;
}

/// Paging is off: every address is its own translation.
const TlbEntry* Mmu::Impl::identity(GuestVirt at) {
    Path path;
    path.entries[0] = (at.value() & kPteAddress) | kPteDirty;
    path.count = 1;
    if (TlbEntry* entry = find(at); entry && entry->fetched && entry->accessed) return entry;
    enter(at, path, Access::kRead);
    return enter(at, path, Access::kExecute);
}

/// A walk that ends in a fault drops the entry.
Exception Mmu::Impl::page_fault(GuestVirt at, const Path& path, Access access, bool user) {
    drop_piece(own(mmu.space_, is_upper(at)), page_number(at), is_upper(at));
    if (is_upper(at)) drop_piece(everywhere(), page_number(at), true);
    bool fetch = access == Access::kExecute && (mmu.state_.efer & kEferNxe);
    uint32_t code = (path.present ? kPfPresent : 0) | (path.reserved ? kPfReserved : 0) |
                    (user ? kPfUser : 0) | (access == Access::kWrite ? kPfWrite : 0) | (fetch ? kPfFetch : 0);
    return Exception{kPf, true, code, at.value()};
}

void Mmu::Impl::drop_piece(Place from, uint64_t page, bool upper_half) {
    TlbLeaf* leaf = from.store.leaf(page / kLeafPages);
    if (!leaf || !leaf->entries[page % kLeafPages].present) return;
    PageUse use = use_of(leaf->entries[page % kLeafPages]);
    leaf->drop(page % kLeafPages);
    if (mmu.listener_) mmu.listener_->page_dropped(from.space, address_of(page, upper_half), use);
}

/// Drops every piece of large pages in a leaf.
void Mmu::Impl::drop_large(Place from, TlbLeaf* leaf, bool upper_half) {
    uint64_t first = leaf->region * kLeafPages;
    leaf->for_each([&](unsigned index, TlbEntry& entry) {
        if (entry.large) drop_piece(from, first + index, upper_half);
    });
}

/// INVLPG in one store.
void Mmu::Impl::drop_page(Place from, uint64_t page, bool upper_half) {
    drop_piece(from, page, upper_half);
    uint64_t region = page / kLeafPages;
    if (TlbLeaf* leaf = from.store.leaf(region)) drop_large(from, leaf, upper_half);
    if (!gigabyte_pages) return;
    uint64_t first = region & ~(kGigabyteRegions - 1);
    for (uint64_t other = first; other < first + kGigabyteRegions; ++other)
        if (TlbLeaf* leaf = from.store.leaf(other); leaf && leaf->gigabyte)
            drop_large(from, leaf, upper_half);
}

void Mmu::Impl::drop_space(unsigned space) {
    Space& dropped = spaces[space];
    bool lower = !dropped.lower.empty(), upper = !dropped.upper.empty();
    if (!lower && !upper) return;
    if (TlbListener* listener = mmu.listener_) {
        if (lower) listener->space_dropped(space);
        bool each = mmu.for_each_own_if_few(
            space, [&](GuestVirt page, PageUse use) { listener->page_dropped(space, page, use); });
        if (!each) listener->upper_half_dropped(space);
    }
    dropped.lower.clear();
    dropped.upper.clear();
    mmu.clear_glances();
}

void Mmu::Impl::drop_global() {
    if (global.empty()) return;
    global.clear();
    mmu.clear_glances();
    if (mmu.listener_) mmu.listener_->upper_half_dropped(kEverySpace);
}

void Mmu::Impl::bound_memory() {
    if (pool.in_use() < kMaxLeaves) return;
    for (unsigned space = 0; space < kSpaces; ++space) drop_space(space);
    drop_global();
}

/// The space bound to `pcid`, or kSpaces.
unsigned Mmu::Impl::find_space(uint16_t pcid) const {
    unsigned space = 0;
    while (space < kSpaces && spaces[space].pcid != pcid) ++space;
    return space;
}

unsigned Mmu::Impl::bind_space(uint16_t pcid) {
    unsigned space = find_space(kNoPcid);
    if (space == kSpaces) {
        space = next_victim;
        next_victim = (next_victim + 1) % kSpaces;
        drop_space(space);
    }
    spaces[space].pcid = pcid;
    return space;
}

Mmu::Mmu(CpuState& state, memory::GuestMemory& memory)
    : state_(state), memory_(memory), impl_(std::make_unique<Impl>(*this)) {
    impl_->spaces[0].pcid = 0;
}

Mmu::~Mmu() = default;

void Mmu::clear_glances() {
    generation_ += kGeneration;
    if (generation_ < 0xfff * kGeneration) return;  // that one is the empty tag's
    generation_ = 0;
    for (auto& table : glances_) table.fill({});
}

void Mmu::enter_space(unsigned space) {
    if (space == space_) return;
    space_ = space;
    clear_glances();
    if (listener_) listener_->space_entered(space);
}

std::variant<const TlbEntry*, Exception> Mmu::translate(GuestVirt at, Access access, bool user) {
    if (!is_canonical(at.value())) return Exception{kGp, true, 0, 0};
    const TlbEntry* entry = impl_->find(at);
    if (!entry || !impl_->permits(*entry, access, user)) {
        if (state_.cr0 & kCr0Pg) {
            Path path = impl_->walk(at.value());
            if (!impl_->path_permits(path, access, user)) return impl_->page_fault(at, path, access, user);
            impl_->set_bits(path, access == Access::kWrite);
            entry = impl_->enter(at, path, access);
        } else {
            entry = impl_->identity(at);
        }
    }
    Glance& slot = glances_[access == Access::kExecute][glance_index(at)];
    slot = entry->ram ? Glance{glance_tag(at), entry, memory_.host(GuestPhys(entry->page))} : Glance{};
    return entry;
}

const TlbEntry* Mmu::cached(GuestVirt at) const {
    return is_canonical(at.value()) ? impl_->find(at) : nullptr;
}

void Mmu::for_each_cached(const std::function<void(GuestVirt, const TlbEntry&)>& visit) const {
    for (TlbLeaf* leaf : impl_->spaces[space_].lower.leaves())
        leaf->for_each([&](unsigned index, const TlbEntry& entry) {
            visit(GuestVirt((leaf->region * kLeafPages + index) * kPageSize), entry);
        });
}

bool Mmu::has_own_upper_half(unsigned space) const { return !impl_->spaces[space].upper.empty(); }

bool Mmu::for_each_own_if_few(unsigned space, const std::function<void(GuestVirt, PageUse)>& visit) const {
    const TlbStore& own = impl_->spaces[space].upper;
    if (!own.holds_at_most(kFewPages)) return false;
    for (TlbLeaf* leaf : own.leaves())
        leaf->for_each([&](unsigned index, const TlbEntry& entry) {
            visit(address_of(leaf->region * kLeafPages + index, true), use_of(entry));
        });
    return true;
}

std::optional<GuestPhys> Mmu::peek_fetch(GuestVirt at, bool user) const {
    if (!is_canonical(at.value())) return std::nullopt;
    if (!(state_.cr0 & kCr0Pg)) return GuestPhys(at.value() & kPteAddress) + (at.value() & kPageMask);
    Path path = impl_->walk(at.value());
    if (!impl_->path_permits(path, Access::kExecute, user)) return std::nullopt;
    return GuestPhys(path.page(at.value()) + (at.value() & kPageMask));
}

std::optional<GuestPhys> Mmu::peek(GuestVirt at) const {
    if (!is_canonical(at.value())) return std::nullopt;
    if (!(state_.cr0 & kCr0Pg)) return GuestPhys(at.value());
    Path path = impl_->walk(at.value());
    if (!path.present || path.reserved) return std::nullopt;
    return GuestPhys(path.page(at.value()) + (at.value() & kPageMask));
}

void Mmu::load_cr3(uint64_t value, bool keep) {
    bool tagged = state_.cr4 & kCr4Pcide;
    auto pcid = static_cast<uint16_t>(tagged ? value & kPcidMask : 0);
    state_.cr3 = value;
    unsigned space = impl_->find_space(pcid);
    if (space == kSpaces)
        space = impl_->bind_space(pcid);
    else if (!tagged || !keep)
        impl_->drop_space(space);
    enter_space(space);
}

void Mmu::drop_page(GuestVirt at) {
    if (!is_canonical(at.value())) return;
    uint64_t page = page_number(at);
    bool upper_half = is_upper(at);
    impl_->drop_page(impl_->own(space_, upper_half), page, upper_half);
    if (upper_half) return impl_->drop_page(impl_->everywhere(), page, true);
    if (!impl_->lower_global) return;
    for (unsigned space = 0; space < kSpaces; ++space)
        if (space != space_) impl_->drop_page(impl_->own(space, false), page, false);
}

void Mmu::drop_pcid(unsigned type, uint16_t pcid, GuestVirt at) {
    CHECK(type <= 3, "INVPCID of type {}", type);
    if (type >= 2) {
        for (unsigned space = 0; space < kSpaces; ++space) impl_->drop_space(space);
        if (type == 2) impl_->drop_global();
        return;
    }
    unsigned space = impl_->find_space(pcid);
    if (space == kSpaces) return;
    if (type == 1) return impl_->drop_space(space);
    impl_->drop_page(impl_->own(space, is_upper(at)), page_number(at), is_upper(at));
}

void Mmu::clear() {
    for (unsigned space = 0; space < kSpaces; ++space) {
        impl_->drop_space(space);
        impl_->spaces[space].pcid = kNoPcid;
    }
    impl_->drop_global();
    impl_->next_victim = 0;
    impl_->lower_global = impl_->gigabyte_pages = false;
    impl_->spaces[0].pcid = static_cast<uint16_t>(state_.cr4 & kCr4Pcide ? state_.cr3 & kPcidMask : 0);
    enter_space(0);
}

}  // namespace lockstep::cpu
