// SPDX-License-Identifier: Apache-2.0
#include "sim/outside.h"

#include <algorithm>
#include <utility>

#include "pair/recent_packets.h"
#include "sim/process.h"
#include "sim/toy_output.h"
#include "sim/world.h"

namespace lockstep::sim {

using replica::PlantedBug;

namespace {
/// What a disk can write at once: requests in the same block wait for each other.
constexpr uint64_t kBlockSectors = 2;
/// Requests that the kernel takes at a time.
constexpr unsigned kRingEntries = 2;
/// The loop's round, which ends with the submission of requests.
constexpr Micros kRound = 500;
}  // namespace

void Outside::submit(const bus::Output& output, LogPos entry) {
    if (!process_.alive() || stopped_) return;
    ToyOutput toy = from_output(output);
    if (toy.kind == EffectKind::kPacket) {
        if (sends_again_) {
            ++world_.counts().sent_again;
            std::erase(shown_, toy);
        }
        return world_.effect(process_, entry, toy);
    }
    uint64_t number = next_number_++;
    bool write = toy.kind == EffectKind::kDiskWrite;
    uint64_t block = toy.sector / kBlockSectors * kBlockSectors;
    queue_.add(number, write ? disk::Access::kWrite : disk::Access::kRead, block, kBlockSectors);
    requests_.emplace(number, Request{toy, entry});
    end_round_soon();
}

void Outside::issue_kept() {
    if (queue_.has_ready()) end_round_soon();
}

void Outside::end_round_soon() {
    if (std::exchange(round_ends_soon_, true)) return;
    world_.after(world_.random().between(0, kRound), process_.id(), [this] {
        round_ends_soon_ = false;
        fill_ring(world_.planted(PlantedBug::kLateWrite) ? LastLook::kForgotten : LastLook::kTaken);
    });
}

void Outside::fill_ring(LastLook look) {
    auto may_write = [&](uint64_t number) {
        bool may = look == LastLook::kForgotten || process_.session().may_write(requests_.at(number).entry);
        world_.counts().kept_writes += !may;
        return may;
    };
    while (with_kernel_ < kRingEntries) {
        std::optional<uint64_t> number = queue_.next(may_write);
        if (!number) break;
        ++with_kernel_;
        const Request& request = requests_.at(*number);
        if (request.output.kind == EffectKind::kDiskWrite)
            world_.effect(process_, request.entry, request.output);
        world_.submit(process_, *number, request.output);
    }
    world_.counts().disk_waits += queue_.size() - with_kernel_;
}

void Outside::disk_done(uint64_t number, uint64_t value) {
    uint64_t disk_request = requests_.extract(number).mapped().output.request;
    queue_.finish(number);
    --with_kernel_;
    fill_ring(world_.planted(PlantedBug::kSubmitUnasked) ? LastLook::kForgotten : LastLook::kTaken);
    ++completions_;
    process_.guest().add_input({record::EntryKind::kDiskCompletion, {}, {disk_request, value, 0}});
    check_drained();
}

void Outside::drain() {
    draining_ = true;
    check_drained();
}

void Outside::check_drained() {
    if (!draining_) return;
    world_.after(world_.random().between(0, kRound), process_.id(), [this] {
        if (in_flight() == 0 && std::exchange(draining_, false)) process_.session().on_drained();
    });
}

void Outside::let_in(uint16_t, Bytes packets) {
    if (!live_) return;
    ByteReader in(packets);
    ++world_.counts().orphans;
    process_.guest().add_input(ToyEntry::decode(in));
}

void Outside::stop() {
    stopped_ = true;
    live_ = false;
    for (uint64_t number : queue_.remove_waiting()) requests_.erase(number);
}

// --- A backup's ---

void Outside::show(const bus::Output& output) {
    if (!output.as<bus::Packets>()) return;
    shown_.push_back(from_output(output));
    if (shown_.size() > pair::RecentPackets::kMost) shown_.pop_front();
}

void Outside::go_live() {
    live_ = true;
    sends_again_ = true;
}

void Outside::packets_sent_again(bool may_act) {
    if (!std::exchange(sends_again_, false)) return;
    for (const ToyOutput& packet : std::exchange(shown_, {})) {
        if (!may_act) continue;  // nothing was sent, since others may have started the VM
        ++world_.counts().left;
        world_.checker().said_to_have_left(process_.id(), process_.replica().term(), packet);
    }
}

}  // namespace lockstep::sim
