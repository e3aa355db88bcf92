// SPDX-License-Identifier: Apache-2.0
#include "translate/shadow_map.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "memory/placement.h"

namespace lockstep::translate {

namespace {

constexpr uint64_t kHalfBytes = uint64_t{1} << (35 + 3);
constexpr uint64_t kRegionAlignment = PiecesAside::kPieceBytes;

/// Where the first piece of a map begins, with its lower half.
uint64_t start_of(uint64_t map) { return map - FillJournal::kMapOffset; }
/// Where the upper half of a map begins, and where it ends.
uint64_t border_of(uint64_t map) { return (map + kHalfBytes) & ~kPageMask; }
uint64_t end_of(uint64_t map) { return border_of(map) + kHalfBytes + kPageSize; }

int shared_half(const char* name) {
    int file = memfd_create(name, MFD_CLOEXEC);
    CHECK(file >= 0 && ftruncate(file, static_cast<off_t>(kHalfBytes + kRegionAlignment)) == 0,
          "the host refuses the shadow map's shared memory");
    return file;
}

void map_at(uint64_t at, uint64_t size, int flags, int file) {
    void* mapped = mmap(reinterpret_cast<void*>(at), size, PROT_READ | PROT_WRITE,
                        flags | MAP_FIXED | MAP_NORESERVE, file, 0);
    CHECK(mapped == reinterpret_cast<void*>(at), "the host refuses {} GiB of address space for a shadow map",
          size >> 30);
}

}  // namespace

ShadowMap::ShadowMap(memory::GuestMemory& memory)
    : memory_(memory), write_uses_(memory.physical_end() / kPageSize) {
    region_bytes_ = kMapStride * 2 * cpu::kSpaces + kRegionAlignment;
    void* region = mmap(memory::apart_from_programs(region_bytes_), region_bytes_, PROT_NONE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(region != MAP_FAILED,
          "the host refuses {} GiB of address space for the shadow maps; raise the limit of "
          "address space (ulimit -v)",
          region_bytes_ >> 30);
    region_ = (reinterpret_cast<uint64_t>(region) + kRegionAlignment - 1) & ~(kRegionAlignment - 1);
    for (unsigned space = 0; space < cpu::kSpaces; ++space)
        for (const Map* map : {&reads_, &writes_}) map_lower_half(*map, space);
    map_upper_halves();
}

void ShadowMap::map_lower_half(const Map& map, unsigned space) {
    uint64_t at = address(map, space);
    map_at(start_of(at), border_of(at) - start_of(at), MAP_PRIVATE | MAP_ANONYMOUS, -1);
}

void ShadowMap::map_own_upper_half(const Map& map, unsigned space) {
    uint64_t at = address(map, space);
    map_at(border_of(at), end_of(at) - border_of(at), MAP_PRIVATE | MAP_ANONYMOUS, -1);
}

void ShadowMap::map_shared_halves(const Map& map) {
    int file = shared_half(map.name);
    for (unsigned space = 0; space < cpu::kSpaces; ++space) {
        uint64_t at = address(map, space);
        map_at(border_of(at), end_of(at) - border_of(at), MAP_SHARED, file);
    }
    close(file);
}

// All of them empty. A map starts kMapOffset % page into a page, so the last entries of the lower half lie in
// the first page of the upper half. Those few are emptied at each change of space (enter_space).
void ShadowMap::map_upper_halves() {
    for (const Map* map : {&reads_, &writes_}) {
        if (!apart_)
            map_shared_halves(*map);
        else
            for (unsigned space = 0; space < cpu::kSpaces; ++space) map_own_upper_half(*map, space);
    }
}

void ShadowMap::part_upper_halves() {
    drop_upper_half(cpu::kEverySpace);
    apart_ = true;
    map_upper_halves();
}

void ShadowMap::join_upper_halves() {
    if (!apart_) return;
    drop_upper_half(cpu::kEverySpace);
    apart_ = false;
    map_upper_halves();
}

void ShadowMap::leave_shared_halves() {
    if (apart_) return;
    map_upper_halves();
    for (Map* map : {&reads_, &writes_}) map->upper[0].clear();
}

ShadowMap::~ShadowMap() { munmap(reinterpret_cast<void*>(region_), region_bytes_ - kRegionAlignment); }

void ShadowMap::note(Map& map, uint64_t index) {
    (is_upper(index) ? map.upper[upper_of(space_)] : map.lower[space_]).note(index);
}

void ShadowMap::enter_space(unsigned space) {
    if (space == space_) return;
    space_ = space;
    if (filled_border_.is_complete())
        for (uint64_t index : filled_border_.indices()) forget_entry(0, index);
    else
        for (const Map* map : {&reads_, &writes_}) clear_border(*map, 0);
    filled_border_.clear();
}

void ShadowMap::fill(GuestVirt at, const cpu::TlbEntry& tlb_entry) {
    uint64_t index = index_of(at);
    uint64_t delta =
        reinterpret_cast<uint64_t>(memory_.host(GuestPhys(tlb_entry.page))) - (at.value() & ~kPageMask);
    if (++fills_ % kFillsForAPiece == 0) aside_.give_one_back();
    uint64_t& read = entry(reads_, space_, index);
    if (!read) {
        note(reads_, index);
        if (is_border(index)) filled_border_.note(index);
        if (!tlb_entry.user && !is_upper(index)) supervisor_[space_].note(index);
    }
    read = delta;
    if (!tlb_entry.writable || !tlb_entry.dirty || !memory_.directly_writable(GuestPhys(tlb_entry.page)))
        return;
    uint64_t& write = entry(writes_, space_, index);
    if (!write) note(writes_, index);
    if (write != delta) {
        write = delta;
        remember_write(tlb_entry.page / kPageSize, index);
    }
}

bool ShadowMap::leads_to(WriteUse use, uint64_t page) const {
    uint64_t index = use >> 4;
    uint64_t virtual_page = index << 12;
    if (is_upper(index)) virtual_page |= ~((uint64_t{1} << 48) - 1);
    return entry_of(use) ==
           reinterpret_cast<uint64_t>(memory_.host(GuestPhys(page * kPageSize))) - virtual_page;
}

void ShadowMap::remember_write(uint64_t page, uint64_t index) {
    WriteUse now = write_use(space_, index);
    WriteUses& uses = write_uses_[page];
    if (uses[0] == now || uses[1] == now) return;  // filled anew
    for (WriteUse& use : uses)
        if (!use || !leads_to(use, page)) {
            use = now;
            return;
        }
    auto& more = more_write_uses_[page];
    constexpr size_t kCrowd = 16;
    if (more.size() < kCrowd && std::ranges::find(more, now) != more.end()) return;
    if (more.size() >= kCrowd && (more.size() & (more.size() - 1)) == 0) {
        std::erase_if(more, [&](WriteUse use) { return !leads_to(use, page); });
        std::ranges::sort(more);
        more.erase(std::unique(more.begin(), more.end()), more.end());
    }
    more.push_back(now);
}

void ShadowMap::forbid_writes(GuestPhys at) {
    uint64_t page = at.value() / kPageSize;
    auto forbid = [&](WriteUse use) {
        if (use && leads_to(use, page)) entry_of(use) = 0;
    };
    std::ranges::for_each(std::exchange(write_uses_[page], {}), forbid);
    auto more = more_write_uses_.find(page);
    if (more == more_write_uses_.end()) return;
    std::ranges::for_each(more->second, forbid);
    more_write_uses_.erase(more);
}

void ShadowMap::drop_supervisor() {
    if (!supervisor_[space_].is_complete()) return drop_space(space_);
    for (uint64_t index : supervisor_[space_].indices()) forget_entry(space_, index);
    supervisor_[space_].clear();
}

void ShadowMap::drop_one(unsigned space, uint64_t index) {
    if (!entry(reads_, space, index)) return;  // also spares the host a page of the map
    entry(reads_, space, index) = 0;
    uint64_t& write = entry(writes_, space, index);
    if (write) write = 0;
}

void ShadowMap::drop_page(unsigned space, GuestVirt page) {
    uint64_t index = index_of(page);
    if (space != cpu::kEverySpace) return drop_one(space, index);
    for (unsigned each = 0; each <= upper_of(cpu::kSpaces - 1); ++each) drop_one(each, index);
}

void ShadowMap::clear_border(const Map& map, unsigned space) {
    for (uint64_t index = (uint64_t{1} << 35) - 1; is_border(index); --index) entry(map, space, index) = 0;
}

/// What the pieces hold between `start` and `end`, which is one mapping.
void ShadowMap::move_aside(const Map& map, unsigned space, const std::set<uint64_t>& pieces, uint64_t start,
                           uint64_t end, PiecesAside::Kind kind) {
    for (uint64_t piece : pieces) {
        uint64_t at = start_of(address(map, space)) + piece * PiecesAside::kPieceBytes;
        aside_.move(std::max(at, start), std::min(at + PiecesAside::kPieceBytes, end), kind);
    }
}

void ShadowMap::empty_lower_half(Map& map, unsigned space) {
    FillJournal& filled = map.lower[space];
    if (filled.is_complete()) {
        for (uint64_t index : filled.indices()) entry(map, space, index) = 0;
    } else {
        uint64_t at = address(map, space);
        move_aside(map, space, filled.pieces(), start_of(at), border_of(at), PiecesAside::Kind::kPrivate);
        clear_border(map, space);
    }
    filled.clear();
}

void ShadowMap::empty_upper_half(Map& map, unsigned number) {
    FillJournal& filled = map.upper[number];
    if (filled.is_complete()) {
        for (uint64_t index : filled.indices()) entry(map, number, index) = 0;
    } else {
        auto kind = apart_ ? PiecesAside::Kind::kPrivate : PiecesAside::Kind::kShared;
        for (unsigned space = number; space <= (apart_ ? number : cpu::kSpaces - 1); ++space) {
            uint64_t at = address(map, space);
            move_aside(map, space, filled.pieces(), border_of(at), end_of(at), kind);
        }
        if (!apart_) map_shared_halves(map);
    }
    filled.clear();
}

void ShadowMap::drop_space(unsigned space) {
    for (Map* map : {&reads_, &writes_}) empty_lower_half(*map, space);
    supervisor_[space].clear();
}

void ShadowMap::drop_upper_half(unsigned space) {
    bool all = space == cpu::kEverySpace;
    for (Map* map : {&reads_, &writes_})
        for (unsigned each = upper_of(all ? 0 : space); each <= upper_of(all ? cpu::kSpaces - 1 : space);
             ++each)
            empty_upper_half(*map, each);
}

void ShadowMap::forbid_all_writes() {
    for (unsigned space = 0; space < cpu::kSpaces; ++space) empty_lower_half(writes_, space);
    for (unsigned each = 0; each <= upper_of(cpu::kSpaces - 1); ++each) empty_upper_half(writes_, each);
}

}  // namespace lockstep::translate
