// SPDX-License-Identifier: Apache-2.0
#include "sim/toy_machine.h"

#include <utility>

#include "base/check.h"
#include "base/hash.h"
#include "sim/random.h"

namespace lockstep::sim {

using record::EntryKind;

void ToyEntry::encode(ByteWriter& out) const {
    out.fixed(kind);
    out.varint(icount.value());
    for (uint64_t number : numbers) out.varint(number);
}

ToyEntry ToyEntry::decode(ByteReader& in) {
    ToyEntry entry;
    entry.kind = in.fixed<EntryKind>();
    entry.icount = Icount(in.varint());
    for (uint64_t& number : entry.numbers) number = in.varint();
    return entry;
}

void ToyMachine::run(Icount until) {
    while (!off_) {
        Icount timer((icount_.value() / kTimer + 1) * kTimer);
        if (timer > until) break;
        icount_ = timer;
        for (uint64_t turn : {0u, 1u}) write(mix(chain_, turn) % kPages, chain_ + turn);
        chain_ = mix(mix(chain_, icount_.value()), pages_[chain_ % kPages]);
        if (chain_ % 4 == 0) emit(EffectKind::kPacket, 0, 0, chain_);
    }
    if (!off_ && until > icount_) icount_ = until;
}

void ToyMachine::deliver(const ToyEntry& entry) {
    CHECK(entry.icount == icount_, "an entry of icount {} is delivered at {}", entry.icount.value(),
          icount_.value());
    if (off_) return;
    auto [first, second, third] = entry.numbers;
    switch (entry.kind) {
        case EntryKind::kNetworkReceive:
            chain_ = mix(chain_, mix(first, second));
            write(first % kPages, chain_);
            waiting_[second].push_back({first, static_cast<Operation>(third)});
            if (waiting_[second].size() == 1) start(second);
            return;
        case EntryKind::kDiskCompletion:
            chain_ = mix(chain_, first);
            return complete(first, second);
        case EntryKind::kPowerControl:
            if (first == 0) off_ = true;
            if (first == 1) reset();
            return;
        default:
            return;
    }
}

void ToyMachine::write(uint64_t page, uint64_t value) {
    if (watcher_) watcher_->before_write(page);
    pages_[page] = mix(pages_[page], value);
}

/// As far as the memory goes: what it knows of the disk and of requests it keeps.
void ToyMachine::reset() {
    if (watcher_) watcher_->replaced();
    watcher_ = nullptr;
    pages_ = {};
    chain_ = mix(chain_, 1);
}

void ToyMachine::start(uint64_t sector) {
    const Work& work = waiting_[sector].front();
    uint64_t disk_request = next_disk_request_++;
    bool put = work.operation == Operation::kPut;
    emit(put ? EffectKind::kDiskWrite : EffectKind::kDiskRead, disk_request, sector, put ? chain_ : 0);
    in_flight_[disk_request] = outputs_.back();
}

void ToyMachine::complete(uint64_t disk_request, uint64_t value) {
    auto found = in_flight_.find(disk_request);
    CHECK(found != in_flight_.end(), "disk request {} ends twice", disk_request);
    ToyOutput output = found->second;
    in_flight_.erase(found);
    Work work = waiting_[output.sector].front();
    waiting_[output.sector].pop_front();
    if (output.kind == EffectKind::kDiskWrite) {
        sectors_[output.sector] = output.value;
    } else if (value != sectors_[output.sector]) {
        wrong_data_ = true;
    }
    applied_.insert(work.request);
    emit(EffectKind::kPacket, work.request, 0, chain_);
    if (!waiting_[output.sector].empty()) start(output.sector);
}

void ToyMachine::emit(EffectKind kind, uint64_t request, uint64_t sector, uint64_t value) {
    outputs_.push_back({next_output_++, kind, request, sector, value});
}

std::vector<ToyOutput> ToyMachine::take_outputs() { return std::exchange(outputs_, {}); }

std::vector<ToyOutput> ToyMachine::in_flight() const {
    std::vector<ToyOutput> list;
    for (const auto& [request, output] : in_flight_) list.push_back(output);
    return list;
}

uint64_t ToyMachine::hash() const {
    uint64_t hash = mix(mix(chain_, next_output_), mix(next_disk_request_, icount_.value()));
    for (uint64_t page : pages_) hash = mix(hash, page);
    return hash;
}

void ToyMachine::save_state(ByteWriter& out) const {
    out.varint(icount_.value());
    out.fixed(chain_);
    out.varint(next_output_);
    out.varint(next_disk_request_);
    out.fixed(uint8_t{wrong_data_});
    out.varint(applied_.size());
    for (uint64_t request : applied_) out.varint(request);
    for (uint64_t sector : sectors_) out.fixed(sector);
    for (const auto& queue : waiting_) {
        out.varint(queue.size());
        for (const Work& work : queue) {
            out.varint(work.request);
            out.fixed(work.operation);
        }
    }
    out.varint(in_flight_.size());
    for (const auto& [request, output] : in_flight_) {
        out.varint(output.number);
        out.fixed(output.kind);
        out.varint(request);
        out.varint(output.sector);
        out.fixed(output.value);
    }
}

void ToyMachine::load_state(ByteReader& in) {
    std::array<uint64_t, kPages> pages = pages_;
    *this = {};
    pages_ = pages;
    icount_ = Icount(in.varint());
    chain_ = in.fixed<uint64_t>();
    next_output_ = in.varint();
    next_disk_request_ = in.varint();
    wrong_data_ = in.fixed<uint8_t>() != 0;
    for (uint64_t left = in.varint(); left != 0; --left) applied_.insert(applied_.end(), in.varint());
    for (uint64_t& sector : sectors_) sector = in.fixed<uint64_t>();
    for (auto& queue : waiting_) {
        for (uint64_t left = in.varint(); left != 0; --left) {
            uint64_t request = in.varint();
            queue.push_back({request, in.fixed<Operation>()});
        }
    }
    for (uint64_t left = in.varint(); left != 0; --left) {
        ToyOutput output;
        output.number = in.varint();
        output.kind = in.fixed<EffectKind>();
        output.request = in.varint();
        output.sector = in.varint();
        output.value = in.fixed<uint64_t>();
        in_flight_[output.request] = output;
    }
    CHECK(in.ok() && in.remaining() == 0, "a toy machine's state is damaged");
}

}  // namespace lockstep::sim
