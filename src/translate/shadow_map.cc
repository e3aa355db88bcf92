// SPDX-License-Identifier: Apache-2.0
#include "translate/shadow_map.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>

#include "base/check.h"
#include "memory/placement.h"

namespace lockstep::translate {

namespace {

constexpr uint64_t kHalfBytes = uint64_t{1} << (35 + 3);
constexpr uint64_t kRegionAlignment = 2ull << 20;

/// Where the upper half of a map begins.
uint64_t border_of(uint64_t map) { return (map + kHalfBytes) & ~kPageMask; }

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
        for (uint64_t map : {read_map(space), write_map(space)}) map_lower_half(map);
    map_upper_halves();
}

void ShadowMap::map_lower_half(uint64_t map) {
    uint64_t start = map & ~kPageMask;
    map_at(start, border_of(map) - start, MAP_PRIVATE | MAP_ANONYMOUS, -1);
}

void ShadowMap::map_own_upper_half(uint64_t map) {
    map_at(border_of(map), kHalfBytes + kPageSize, MAP_PRIVATE | MAP_ANONYMOUS, -1);
}

void ShadowMap::map_shared_halves(uint64_t (ShadowMap::*map)(unsigned) const, const char* name) {
    int file = shared_half(name);
    for (unsigned space = 0; space < cpu::kSpaces; ++space)
        map_at(border_of((this->*map)(space)), kHalfBytes + kPageSize, MAP_SHARED, file);
    close(file);
}

// All of them empty. A map starts kMapOffset % page into a page, so the last entries of the lower half lie in
// the first page of the upper half. Those few are emptied at each change of space (enter_space).
void ShadowMap::map_upper_halves() {
    if (!apart_) {
        map_shared_halves(&ShadowMap::read_map, "lockstep-read-map");
        map_shared_halves(&ShadowMap::write_map, "lockstep-write-map");
        return;
    }
    for (unsigned space = 0; space < cpu::kSpaces; ++space)
        for (uint64_t map : {read_map(space), write_map(space)}) map_own_upper_half(map);
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

ShadowMap::~ShadowMap() { munmap(reinterpret_cast<void*>(region_), region_bytes_ - kRegionAlignment); }

void ShadowMap::remember_fill(uint64_t index) {
    if (is_border(index)) filled_border_.note(index);
    (is_upper(index) ? filled_upper_[upper_of(space_)] : filled_[space_]).note(index);
}

void ShadowMap::enter_space(unsigned space) {
    if (space == space_) return;
    space_ = space;
    if (filled_border_.is_complete()) {
        for (uint64_t index : filled_border_.indices()) read_entry(0, index) = write_entry(0, index) = 0;
    } else {
        clear_border(0);
    }
    filled_border_.clear();
}

void ShadowMap::fill(GuestVirt at, const cpu::TlbEntry& entry) {
    uint64_t index = index_of(at);
    uint64_t delta =
        reinterpret_cast<uint64_t>(memory_.host(GuestPhys(entry.page))) - (at.value() & ~kPageMask);
    uint64_t& read = read_entry(space_, index);
    if (!read) {
        remember_fill(index);
        if (!entry.user && !is_upper(index)) supervisor_[space_].note(index);
    }
    read = delta;
    if (!entry.writable || !entry.dirty || !memory_.directly_writable(GuestPhys(entry.page))) return;
    uint64_t& write = write_entry(space_, index);
    if (write != delta) {
        write = delta;
        remember_write(entry.page, index);
    }
}

void ShadowMap::remember_write(uint64_t page, uint64_t index) {
    auto& uses = write_uses_[page / kPageSize];
    constexpr size_t kCrowd = 16;
    WriteUse now{index, space_};
    if (uses.size() < kCrowd && std::ranges::find(uses, now) != uses.end()) return;  // filled anew
    if (uses.size() >= kCrowd && (uses.size() & (uses.size() - 1)) == 0) {
        std::erase_if(uses, [&](const WriteUse& use) { return !write_entry(use.space, use.page_number); });
        auto less = [](const WriteUse& a, const WriteUse& b) {
            return std::pair(a.page_number, a.space) < std::pair(b.page_number, b.space);
        };
        std::sort(uses.begin(), uses.end(), less);
        uses.erase(std::unique(uses.begin(), uses.end()), uses.end());
    }
    uses.push_back(now);
}

void ShadowMap::forbid_writes(GuestPhys page) {
    auto& uses = write_uses_[page.value() / kPageSize];
    uint64_t host = reinterpret_cast<uint64_t>(memory_.host(page));
    for (const WriteUse& use : uses) {
        uint64_t& write = write_entry(use.space, use.page_number);
        uint64_t virtual_page = use.page_number << 12;
        if (is_upper(use.page_number)) virtual_page |= ~((uint64_t{1} << 48) - 1);
        if (write == host - virtual_page) write = 0;
    }
    uses.clear();
}

void ShadowMap::drop_supervisor() {
    if (!supervisor_[space_].is_complete()) return drop_space(space_);
    for (uint64_t index : supervisor_[space_].indices())
        read_entry(space_, index) = write_entry(space_, index) = 0;
    supervisor_[space_].clear();
}

void ShadowMap::drop_one(unsigned space, uint64_t index) {
    if (!read_entry(space, index)) return;  // also spares the host a page of the map
    read_entry(space, index) = 0;
    if (write_entry(space, index)) write_entry(space, index) = 0;
}

void ShadowMap::drop_page(unsigned space, GuestVirt page) {
    uint64_t index = index_of(page);
    if (space != cpu::kEverySpace) return drop_one(space, index);
    for (unsigned each = 0; each <= upper_of(cpu::kSpaces - 1); ++each) drop_one(each, index);
}

void ShadowMap::clear_border(unsigned space) {
    for (uint64_t index = (uint64_t{1} << 35) - 1; is_border(index); --index)
        read_entry(space, index) = write_entry(space, index) = 0;
}

void ShadowMap::drop_space(unsigned space) {
    if (filled_[space].is_complete()) {
        for (uint64_t index : filled_[space].indices())
            read_entry(space, index) = write_entry(space, index) = 0;
    } else {
        map_lower_half(read_map(space));
        map_lower_half(write_map(space));
        clear_border(space);
    }
    filled_[space].clear();
    supervisor_[space].clear();
}

void ShadowMap::drop_upper_half(unsigned space) {
    bool all = space == cpu::kEverySpace;
    for (unsigned each = upper_of(all ? 0 : space); each <= upper_of(all ? cpu::kSpaces - 1 : space);
         ++each) {
        if (filled_upper_[each].is_complete()) {
            for (uint64_t index : filled_upper_[each].indices())
                read_entry(each, index) = write_entry(each, index) = 0;
        } else if (apart_) {
            map_own_upper_half(read_map(each));
            map_own_upper_half(write_map(each));
        } else {
            map_upper_halves();
        }
        filled_upper_[each].clear();
    }
}

// The journals stay: they tell of the read entries, too.
void ShadowMap::forbid_all_writes() {
    for (unsigned space = 0; space < cpu::kSpaces; ++space) {
        if (filled_[space].is_complete()) {
            for (uint64_t index : filled_[space].indices()) write_entry(space, index) = 0;
        } else {
            map_lower_half(write_map(space));
            clear_border(space);
        }
    }
    for (unsigned each = 0; each <= upper_of(cpu::kSpaces - 1); ++each) {
        if (filled_upper_[each].is_complete()) {
            for (uint64_t index : filled_upper_[each].indices()) write_entry(each, index) = 0;
        } else if (apart_) {
            map_own_upper_half(write_map(each));
        } else {
            map_shared_halves(&ShadowMap::write_map, "lockstep-write-map");
        }
    }
}

}  // namespace lockstep::translate
