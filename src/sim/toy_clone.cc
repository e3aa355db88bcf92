// SPDX-License-Identifier: Apache-2.0
#include "sim/toy_clone.h"

#include "base/check.h"
#include "sim/world.h"

namespace lockstep::sim {

using pair::Taken;
using replica::PlantedBug;

namespace {
constexpr size_t kFewPages = 2;
constexpr unsigned kMostRounds = 5;
}  // namespace

ToyClone::ToyClone(World& world, ToyMachine& machine) : world_(world), machine_(machine) {
    for (uint64_t page = 0; page < kPages; ++page) to_send_.insert(to_send_.end(), page);
    round_pages_ = to_send_.size();
    machine_.watch(this);
}

void ToyClone::before_write(uint64_t page) {
    if (!cut_) {
        bool sent = !to_send_.contains(page);
        if (!sent || !world_.planted(PlantedBug::kLostPage)) written_.insert(page);
        return;
    }
    if (world_.planted(PlantedBug::kLatePage) || to_send_.erase(page) == 0) return;
    ++world_.counts().early_copies;
    queue_.emplace_back(page, machine_.pages()[page]);
}

bool ToyClone::take_one(ByteWriter& out) {
    if (!queue_.empty()) {
        out.varint(queue_.front().first);
        out.fixed(queue_.front().second);
        queue_.pop_front();
        return true;
    }
    if (to_send_.empty()) return false;
    uint64_t page = *to_send_.begin();
    to_send_.erase(to_send_.begin());
    if (!cut_ && written_.contains(page)) return true;
    out.varint(page);
    out.fixed(machine_.pages()[page]);
    return true;
}

Taken ToyClone::take(Bytes& out, size_t bytes) {
    ByteWriter writer(out);
    while (!void_ && out.size() < bytes)
        if (!take_one(writer)) break;
    if (void_) {
        ++world_.counts().void_copies;
        return Taken::kVoid;
    }
    if (!to_send_.empty() || !queue_.empty()) return Taken::kMore;
    if (cut_) return Taken::kComplete;
    return another_round_pays() ? Taken::kNextRound : Taken::kCut;
}

bool ToyClone::another_round_pays() const {
    return round_ < kMostRounds && written_.size() > kFewPages && written_.size() <= round_pages_ / 4 * 3;
}

void ToyClone::next_round() {
    ++world_.counts().rounds;
    ++round_;
    to_send_.merge(written_);
    written_.clear();
    round_pages_ = to_send_.size();
}

void ToyClone::cut() {
    ++world_.counts().cuts;
    to_send_.merge(written_);
    written_.clear();
    cut_ = true;
}

void load_pages(ToyMachine& machine, ByteSpan records) {
    ByteReader in(records);
    while (in.remaining() != 0) {
        uint64_t page = in.varint();
        machine.load_page(page, in.fixed<uint64_t>());
    }
    CHECK(in.ok(), "pages of a toy machine are damaged");
}

}  // namespace lockstep::sim
