// SPDX-License-Identifier: Apache-2.0
#include "translate/host_window.h"

#include <sys/mman.h>

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "memory/placement.h"

namespace lockstep::translate {

namespace {

/// Lower addresses may not be mapped (Linux: vm.mmap_min_addr).
constexpr uint64_t kLowestAddress = 64 << 10;
/// The last page of the user half may not, either.
constexpr uint64_t kUserEnd = (uint64_t{1} << 47) - kPageSize;
constexpr uint64_t kStackGrowth = 16 << 20;
constexpr int kNothing = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;

void* pointer(uint64_t address) { return reinterpret_cast<void*>(address); }

}  // namespace

HostWindow::HostWindow(memory::GuestMemory& memory) : memory_(memory) {
    if (memory.file() < 0) return;
    void* mapped = mmap(memory::apart_from_programs(kTableBytes), kTableBytes, PROT_NONE, kNothing, -1, 0);
    if (mapped != MAP_FAILED) table_ = reinterpret_cast<uint64_t>(mapped);
}

HostWindow::~HostWindow() {
    if (!possible()) return;
    for (const auto& [region, state] : regions_) {
        uint64_t start = std::max(region * kRegionBytes, kLowestAddress);
        uint64_t end = std::min((region + 1) * kRegionBytes, kUserEnd);
        if (state != Region::kRefused) munmap(pointer(start), end - start);
    }
    munmap(pointer(table_), kTableBytes);
}

// Nothing of ours may be there, so the host is asked not to replace anything. Nor may there be anything just
// above it: the main thread's stack grows downwards.
bool HostWindow::reserve(uint64_t region) {
    if (region >= kRegions) return true;  // beyond either end of the user half there is nothing to reach
    auto known = regions_.find(region);
    if (known != regions_.end()) return known->second != Region::kRefused;
    uint64_t start = std::max(region * kRegionBytes, kLowestAddress);
    uint64_t end = std::min((region + 1) * kRegionBytes, kUserEnd);
    auto above = regions_.find(region + 1);
    bool reserved_above = above != regions_.end() && above->second != Region::kRefused;
    uint64_t checked = reserved_above ? end : std::min(end + kStackGrowth, kUserEnd);
    void* mapped = mmap(pointer(start), checked - start, PROT_NONE, kNothing | MAP_FIXED_NOREPLACE, -1, 0);
    bool reserved = mapped == pointer(start);
    if (!reserved && mapped != MAP_FAILED) munmap(mapped, checked - start);
    if (reserved && checked > end) munmap(pointer(end), checked - end);
    regions_[region] = reserved ? Region::kReserved : Region::kRefused;
    return reserved;
}

bool HostWindow::open_region(uint64_t region) {
    auto known = regions_.find(region);
    if (known != regions_.end() && known->second == Region::kOpen) return true;
    if (region >= kRegions || !reserve(region) || !reserve(region - 1) || !reserve(region + 1)) return false;
    // Memory of its own: all looks at one page of zeroes would get into each other's way in the L1 cache.
    void* page = pointer(table_ + region * kPageSize);
    if (mprotect(page, kPageSize, PROT_READ | PROT_WRITE)) return false;
    *static_cast<volatile uint8_t*>(page) = 0;
    if (mprotect(page, kPageSize, PROT_READ)) return false;
    regions_[region] = Region::kOpen;
    return true;
}

/// By how many mappings of the host a page makes them more: one that continues its neighbour's adds none.
int64_t HostWindow::mappings_of(uint64_t number, const Page& page) const {
    int64_t count = 2;  // its own, and the reserved ones around it are two
    for (int64_t side : {-1, 1}) {
        auto neighbour = pages_.find(number + static_cast<uint64_t>(side));
        if (neighbour == pages_.end()) continue;
        --count;
        uint64_t continued = page.physical + static_cast<uint64_t>(side) * kPageSize;
        if (neighbour->second.writable == page.writable && neighbour->second.physical == continued) --count;
    }
    return count;
}

void HostWindow::enter(uint64_t number, const Page& page) {
    mappings_ += mappings_of(number, page);
    pages_[number] = page;
    if (page.writable) writable_.emplace(page.physical, number);
}

void HostWindow::take_out(uint64_t number) {
    auto page = pages_.find(number);
    mappings_ -= mappings_of(number, page->second);
    if (page->second.writable) {
        auto [first, last] = writable_.equal_range(page->second.physical);
        writable_.erase(std::find_if(first, last, [&](const auto& use) { return use.second == number; }));
    }
    pages_.erase(page);
}

bool HostWindow::map(const Run& run) {
    uint64_t start = run.first * kPageSize, bytes = run.count * kPageSize;
    if (start < kLowestAddress || start + bytes > kUserEnd) return false;
    apply_drops();
    if (mappings_ >= kMostMappings) {
        drop_all();
        apply_drops();
    }
    int rights = run.writable ? PROT_READ | PROT_WRITE : PROT_READ;
    if (mmap(pointer(start), bytes, rights, MAP_SHARED | MAP_FIXED | MAP_POPULATE, memory_.file(),
             static_cast<off_t>(run.physical)) != pointer(start)) {
        drop_all_ = true;
        apply_drops();
        unmap(run.first, run.count);  // the host may have left a hole, where something of ours could come
        return false;
    }
    for (uint64_t i = 0; i < run.count; ++i) {
        if (pages_.contains(run.first + i)) take_out(run.first + i);
        enter(run.first + i, {.physical = run.physical + i * kPageSize, .writable = run.writable});
    }
    return true;
}

void HostWindow::forbid_writes(GuestPhys physical) {
    std::vector<uint64_t> numbers;
    auto [first, last] = writable_.equal_range(physical.value());
    for (auto use = first; use != last; ++use) numbers.push_back(use->second);
    for (uint64_t number : numbers) {
        take_out(number);
        enter(number, {.physical = physical.value(), .writable = false});
        CHECK(mprotect(pointer(number * kPageSize), kPageSize, PROT_READ) == 0,
              "the host refuses to protect a page of the window");
    }
}

void HostWindow::drop_page(GuestVirt page) {
    auto known = pages_.find(page.value() / kPageSize);
    if (drop_all_ || known == pages_.end() || known->second.dropped) return;
    known->second.dropped = true;
    dropped_.push_back(known->first);
}

void HostWindow::unmap(uint64_t first_page, uint64_t count) {
    void* place = pointer(first_page * kPageSize);
    CHECK(mmap(place, count * kPageSize, PROT_NONE, kNothing | MAP_FIXED, -1, 0) == place,
          "the host refuses to take {} pages out of the window", count);
}

void HostWindow::unmap_dropped() {
    bool all = std::exchange(drop_all_, false);
    if (all) {
        dropped_.clear();
        for (const auto& [number, page] : pages_) dropped_.push_back(number);
    }
    std::sort(dropped_.begin(), dropped_.end());
    dropped_.erase(std::unique(dropped_.begin(), dropped_.end()), dropped_.end());
    for (size_t i = 0; i < dropped_.size();) {
        size_t end = i + 1;
        // Where everything goes, holes go with it, up to the region's end: it is reserved.
        auto joins = [&](uint64_t next) {
            return all ? next / (kRegionBytes / kPageSize) == dropped_[i] / (kRegionBytes / kPageSize)
                       : next == dropped_[end - 1] + 1;
        };
        while (end < dropped_.size() && joins(dropped_[end])) ++end;
        unmap(dropped_[i], dropped_[end - 1] + 1 - dropped_[i]);
        i = end;
    }
    if (all) {
        pages_.clear();
        writable_.clear();
        mappings_ = 0;
    } else {
        for (uint64_t number : dropped_) take_out(number);
    }
    dropped_.clear();
}

}  // namespace lockstep::translate
