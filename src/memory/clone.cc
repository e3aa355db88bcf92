// SPDX-License-Identifier: Apache-2.0
#include "memory/clone.h"

#include <array>
#include <utility>

#include "base/check.h"
#include "memory/page_records.h"

namespace lockstep::memory {

namespace {

/// So many pages go out after the cut as fast as they would in a round before it.
constexpr uint64_t kFewPages = 1024;
constexpr unsigned kMostRounds = 12;

// The guest may write to the page meanwhile; what is torn goes out again, or is thrown away. C++ knows no such copy,
// and a sanitizer would take it for a mistake.
void copy_while_written(std::array<uint8_t, kPageSize>& into, const uint8_t* page) {
    uint8_t* to = into.data();
    size_t bytes = into.size();
    asm volatile("rep movsb" : "+D"(to), "+S"(page), "+c"(bytes) : : "memory");
}

}  // namespace

Clone::Clone(GuestMemory& memory, WaitForRoom wait_for_room, size_t queue_pages)
    : memory_(memory),
      wait_for_room_(std::move(wait_for_room)),
      pages_(memory.physical_end() / kPageSize),
      written_(pages_.pages()),
      queue_(queue_pages) {
    memory_.watch_writes(*this);
}

Clone::~Clone() { memory_.unwatch_writes(*this); }

// What comes into use from now on is written, so it is noted.
void Clone::find_used() {
    if (std::exchange(used_found_, true)) return;
    memory_.for_each_used_range(
        [this](uint64_t start, uint64_t end) { pages_.add_range(start / kPageSize, end / kPageSize); });
    round_pages_ = pages_.count();
    left_ = round_pages_;
}

void Clone::watch_anew() {
    CHECK(!taking_, "a clone is moved on while its sender takes pages");
    find_used();
    pages_.take_all(written_);
    next_ = 0;
    round_pages_ = pages_.count();
    left_ = round_pages_;
    written_count_ = 0;
    if (!void_) memory_.watch_writes(*this);
}

void Clone::next_round() {
    CHECK(!cut_, "a clone is cut once, after its rounds");
    watch_anew();
    ++round_;
}

void Clone::cut() {
    CHECK(!cut_, "a clone is cut once");
    watch_anew();
    cut_ = true;
}

void Clone::first_write(GuestPhys at) {
    uint64_t page = at.value() / kPageSize;
    if (!cut_.load(std::memory_order_relaxed)) {
        written_.add(page);
        written_count_.fetch_add(1, std::memory_order_relaxed);
        return;
    }
    if (!pages_.claim(page)) return;
    while (!void_.load(std::memory_order_relaxed) && !queue_.push(page, memory_.host(at))) wait_for_room_();
}

Clone::Taken Clone::take(Bytes& out, size_t bytes) {
    if (void_.load(std::memory_order_relaxed)) return Taken::kVoid;
    taking_ = true;
    Taken taken = cut_ ? take_of_rest(out, bytes) : take_of_round(out, bytes);
    taking_ = false;
    return void_.load(std::memory_order_relaxed) ? Taken::kVoid : taken;
}

void Clone::put(Bytes& out, uint64_t page, const uint8_t* contents) {
    ByteWriter writer(out);
    write_page_record(writer, page, contents);
}

void Clone::put_from_memory(Bytes& out, uint64_t page) {
    std::array<uint8_t, kPageSize> contents;
    copy_while_written(contents, memory_.host(GuestPhys(page * kPageSize)));
    put(out, page, contents.data());
}

// Pages that have been written since belong to the next round already.
Clone::Taken Clone::take_of_round(Bytes& out, size_t bytes) {
    find_used();
    while (out.size() < bytes) {
        uint64_t page = pages_.next(next_);
        if (page == pages_.pages()) return Taken::kRound;
        next_ = page + 1;
        pages_.claim(page);
        left_.fetch_sub(1, std::memory_order_relaxed);
        if (written_.has(page)) continue;
        put_from_memory(out, page);
        sent_.fetch_add(1, std::memory_order_relaxed);
    }
    return Taken::kMore;
}

// The queue first: the guest may wait for room in it.
Clone::Taken Clone::take_of_rest(Bytes& out, size_t bytes) {
    while (left_.load(std::memory_order_relaxed)) {
        if (out.size() >= bytes) return Taken::kMore;
        bool supplied =
            queue_.take([&](uint64_t page, const uint8_t* contents) { put(out, page, contents); });
        if (!supplied) {
            uint64_t page = pages_.next(next_);
            if (page == pages_.pages()) return Taken::kMore;  // the guest has claimed what is left
            next_ = page + 1;
            supplied = supply(out, page);
        }
        if (!supplied) continue;
        left_.fetch_sub(1, std::memory_order_relaxed);
        sent_.fetch_add(1, std::memory_order_relaxed);
    }
    return Taken::kComplete;
}

bool Clone::supply(Bytes& out, uint64_t page) {
    size_t before = out.size();
    put_from_memory(out, page);
    if (pages_.claim(page)) return true;
    out.resize(before);
    return false;
}

Clone::Progress Clone::progress() const {
    return {.round = round_, .cut = cut_, .sent = sent_, .left = left_, .written = written_count_};
}

bool Clone::another_round_pays() const {
    uint64_t next = written_count_;
    return round_ < kMostRounds && next > kFewPages && next <= round_pages_ / 4 * 3;
}

}  // namespace lockstep::memory
