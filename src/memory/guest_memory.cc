// SPDX-License-Identifier: Apache-2.0
#include "memory/guest_memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>

#include "base/hash.h"
#include "memory/huge_file.h"
#include "memory/page_loader.h"
#include "memory/page_records.h"
#include "memory/placement.h"

namespace lockstep::memory {

namespace {

constexpr uint64_t kRamAlignment = 2ull << 20;

template <typename Visit>
void each_ram_range(const GuestMemory& memory, Visit visit) {
    visit(uint64_t{0}, memory.low_ram_size());
    if (memory.high_ram_size()) visit(kHighRamStart, memory.high_ram_size());
}

}  // namespace

Result<std::unique_ptr<GuestMemory>> GuestMemory::create(uint64_t ram_size, Placing placing) {
    if (ram_size == 0 || ram_size % kRamAlignment)
        return error("guest memory of {} bytes: the size must be a multiple of 2 MiB", ram_size);
    uint64_t reserved = kHighRamStart + ram_size;
    void* space = mmap(apart_from_programs(reserved + kRamAlignment), reserved + kRamAlignment, PROT_NONE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (space == MAP_FAILED)
        return error("cannot reserve {} bytes of address space for the guest's memory", reserved);
    uint64_t aligned = (reinterpret_cast<uint64_t>(space) + kRamAlignment - 1) & ~(kRamAlignment - 1);
    std::unique_ptr<GuestMemory> memory(
        new GuestMemory(reinterpret_cast<uint8_t*>(aligned), reserved, ram_size, placing));
    if (!memory->map_ram(0, memory->low_ram_size()) ||
        !memory->map_ram(kHighRamStart, memory->high_ram_size()))
        return error(
            "cannot get {} MiB for the guest's memory; give the guest less, or free memory on this host",
            ram_size >> 20);
    return memory;
}

Result<void> GuestMemory::add_rom(ByteSpan rom) {
    if (rom.size() % kPageSize || rom.size() > kHighRamStart - kLowRamEnd)
        return error("firmware of {} bytes: whole pages, at most 1 GiB, are possible", rom.size());
    if (!map_ram(kHighRamStart - rom.size(), rom.size()))
        return error("cannot get {} KiB for the guest's firmware; free memory on this host",
                     rom.size() >> 10);
    rom_size_ = rom.size();
    std::copy(rom.begin(), rom.end(), base_ + rom_start());
    for (uint64_t page = rom_start() / kPageSize; page < kHighRamStart / kPageSize; ++page)
        marks_[page] |= kFixed;
    return {};
}

GuestMemory::GuestMemory(uint8_t* base, uint64_t reserved, uint64_t ram_size, Placing placing)
    : base_(base),
      reserved_(reserved),
      ram_size_(ram_size),
      file_(placing == Placing::kMappable ? open_huge_file(reserved) : -1),
      marks_(reserved / kPageSize) {}

GuestMemory::~GuestMemory() {
    munmap(base_, reserved_);
    if (file_ >= 0) close(file_);
}

bool GuestMemory::map_ram(uint64_t start, uint64_t size) {
    if (size == 0) return true;
    int kind = file_ >= 0 ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS;
    void* mapped = mmap(base_ + start, size, PROT_READ | PROT_WRITE, kind | MAP_NORESERVE | MAP_FIXED, file_,
                        file_ >= 0 ? static_cast<off_t>(start) : 0);
    if (mapped == MAP_FAILED) return false;
    madvise(mapped, size, MADV_HUGEPAGE);
    return true;
}

bool GuestMemory::read(GuestPhys at, std::span<uint8_t> out) const {
    if (!is_ram(at, out.size())) return false;
    std::memcpy(out.data(), host(at), out.size());
    return true;
}

bool GuestMemory::write(GuestPhys at, ByteSpan in) {
    if (!is_ram(at, in.size())) return false;
    if (in.empty()) return true;
    if (is_rom(at)) return true;
    uint64_t last = (at.value() + in.size() - 1) / kPageSize;
    for (uint64_t page = at.value() / kPageSize; page <= last; ++page)
        if (marks_[page]) tell_listeners(page);
    std::memcpy(host(at), in.data(), in.size());
    return true;
}

void GuestMemory::tell_listeners(uint64_t page) {
    GuestPhys at(page * kPageSize);
    if (!prepare_write(at)) listener_->code_written(at);
}

void GuestMemory::tell_watcher(GuestPhys at) {
    uint64_t page = at.value() / kPageSize;
    marks_[page] &= static_cast<uint8_t>(~kWatched);
    watcher_->first_write(GuestPhys(page * kPageSize));
}

// Eight at a time: the guest stands still meanwhile, perhaps one with three million pages.
template <typename Change>
void GuestMemory::change_marks(Change change) {
    each_ram_range(*this, [&](uint64_t start, uint64_t size) {
        uint8_t* at = &marks_[start / kPageSize];
        for (uint8_t* end = at + size / kPageSize; at < end; at += sizeof(uint64_t)) {
            uint64_t eight;
            std::memcpy(&eight, at, sizeof eight);
            eight = change(eight);
            std::memcpy(at, &eight, sizeof eight);
        }
    });
}

void GuestMemory::watch_writes(WriteWatcher& watcher) {
    CHECK(!watcher_ || watcher_ == &watcher, "guest memory has one watcher");
    watcher_ = &watcher;
    change_marks([](uint64_t eight) { return eight | kEightWatched; });
    if (listener_) listener_->writes_watched();
}

void GuestMemory::unwatch_writes(const WriteWatcher& watcher) {
    if (watcher_ != &watcher) return;
    watcher_ = nullptr;
    change_marks([](uint64_t eight) { return eight & ~kEightWatched; });
}

// Reading a hole of the file would fill it with memory.
void GuestMemory::for_each_used_range(const std::function<void(uint64_t, uint64_t)>& visit) const {
    each_ram_range(*this, [&](uint64_t start, uint64_t size) {
        if (file_ < 0) return visit(start, start + size);
        uint64_t end = start + size;
        for (uint64_t at = start; at < end;) {
            off_t data = lseek(file_, static_cast<off_t>(at), SEEK_DATA);
            if (data < 0 || static_cast<uint64_t>(data) >= end) return;
            off_t hole = lseek(file_, data, SEEK_HOLE);
            CHECK(hole > data, "the guest's memory can't be searched for what is in use");
            uint64_t first = static_cast<uint64_t>(data) & ~kPageMask;
            at = std::min((static_cast<uint64_t>(hole) + kPageMask) & ~kPageMask, end);
            visit(first, at);
        }
    });
}

uint64_t GuestMemory::hash() const {
    uint64_t result = 0;
    for_each_used_range([&](uint64_t start, uint64_t end) {
        for (uint64_t at = start; at < end; at += kPageSize)
            if (!is_zero_page(base_ + at)) result ^= hash64({base_ + at, kPageSize}, at + 1);
    });
    return result;
}

void GuestMemory::clear() {
    if (watcher_) {
        watcher_->memory_replaced();
        watcher_ = nullptr;
    }
    each_ram_range(*this, [&](uint64_t start, uint64_t size) {
        madvise(base_ + start, size, file_ >= 0 ? MADV_REMOVE : MADV_DONTNEED);
    });
    for (uint8_t& marks : marks_) marks &= kFixed;
}

void GuestMemory::save(ByteWriter& out) const {
    for_each_used_range([&](uint64_t start, uint64_t end) {
        for (uint64_t at = start; at < end; at += kPageSize)
            if (!is_zero_page(base_ + at)) write_page_record(out, at / kPageSize, base_ + at);
    });
    write_page_end(out);
}

Result<void> GuestMemory::load(ByteReader& in) { return PageLoader(*this).take_to_end(in); }

}  // namespace lockstep::memory
