// SPDX-License-Identifier: Apache-2.0
// The copy of a live guest while it runs, and the coming of one, on the vCPU thread.
#include <algorithm>
#include <chrono>
#include <utility>

#include "host/clock.h"
#include "vmm/vcpu_thread.h"

namespace lockstep::vmm {

namespace {

/// A guest that waits for room in its clone's queue looks for it so often.
constexpr std::chrono::microseconds kRoomPause(50);
/// It doesn't stand for a link that takes nothing for so long: the clone is given up.
constexpr uint64_t kLongestStallNs = 500'000'000;

}  // namespace

// --- The copy of a live guest ---

void VcpuThread::start_clone(std::function<void(memory::Clone&)> begun) {
    post([this, begun] {
        if (mode_ != Mode::kLive) return;
        pauses_.cut_ns = pauses_.longest_other_ns = pauses_.waited_ns = 0;
        sent_at_stall_.reset();
        uint64_t since_ns = host::monotonic_ns();
        clone_ = std::make_unique<memory::Clone>(machine_->memory(), [this] { wait_for_room(); });
        note_pause(since_ns);
        report([begun, clone = clone_.get()] { begun(*clone); });
    });
}

void VcpuThread::next_round(std::function<void()> begun) {
    post([this, begun] {
        if (mode_ != Mode::kLive || !clone_) return;
        uint64_t since_ns = host::monotonic_ns();
        clone_->next_round();
        note_pause(since_ns);
        report(begun);
    });
}

void VcpuThread::cut(std::function<void(Cut)> done) {
    post([this, done] {
        uint64_t since_ns = host::monotonic_ns();
        if (mode_ != Mode::kLive || !clone_ || !live_->cut()) return;
        clone_->cut();
        auto made = std::make_shared<Cut>(Cut{machine_->icount(), live_->position(),
                                              drive::save_without_memory(*machine_, live_->counts())});
        pauses_.cut_ns = host::monotonic_ns() - since_ns;
        report([done, made] { done(std::move(*made)); });
    });
}

void VcpuThread::end_clone() {
    post([this] {
        uint64_t since_ns = host::monotonic_ns();
        if (std::exchange(clone_, nullptr)) note_pause(since_ns);
    });
}

void VcpuThread::note_pause(uint64_t since_ns) {
    pauses_.longest_other_ns = std::max(pauses_.longest_other_ns.load(), host::monotonic_ns() - since_ns);
}

void VcpuThread::wait_for_room() {
    uint64_t now_ns = host::monotonic_ns(), sent = clone_->progress().sent;
    if (sent != std::exchange(sent_at_stall_, sent)) stalled_since_ns_ = now_ns;
    if (stopping_ || now_ns - stalled_since_ns_ > kLongestStallNs) return clone_->cancel();
    std::this_thread::sleep_for(kRoomPause);
    pauses_.waited_ns += host::monotonic_ns() - now_ns;
}

// --- The coming of one ---

Result<void> VcpuThread::load_pages(ByteSpan records) {
    if (!loader_) return error("pages of a copy come, but there is no machine to take them");
    return loader_->take(records);
}

void VcpuThread::load_state(Bytes state, std::function<void(Result<void>)> done) {
    auto shared = std::make_shared<Bytes>(std::move(state));
    post([this, shared, done] {
        loader_.reset();
        Result<drive::DriverCounts> counts = drive::load_without_memory(*machine_, *shared);
        if (counts) counts_ = counts.value();
        report([done, result = counts ? Result<void>() : Result<void>(counts.error())] { done(result); });
    });
}

}  // namespace lockstep::vmm
