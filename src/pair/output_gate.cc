// SPDX-License-Identifier: Apache-2.0
#include "pair/output_gate.h"

#include <algorithm>

namespace lockstep::pair {

using bus::DiskRequest;
using bus::Output;

bool OutputGate::passes(const Output& output) const {
    if (bus::changes_outside(output)) return false;
    const auto* request = output.as<DiskRequest>();
    if (!request) return true;
    return std::ranges::none_of(held_, [&](const Held& held) {
        const auto* earlier = held.output.as<DiskRequest>();
        return earlier && held.output.device == output.device && bus::conflict(*earlier, *request);
    });
}

void OutputGate::made(LogPos entry, uint64_t made_ns, Output output) {
    switch (replica_.on_output(clock_.now_ms(), entry)) {
        case replica::OutputFate::kDrop:
            return;
        case replica::OutputFate::kRelease:
            if (held_.empty() || passes(output)) return outside_.submit(output, entry);
            break;
        case replica::OutputFate::kHold:
            if (passes(output)) return outside_.submit(output, entry);
            break;
    }
    held_.push_back({entry, made_ns, std::move(output)});
}

LogPos OutputGate::release(LogPos up_to) {
    while (!held_.empty() && held_.front().entry < up_to) {
        uint64_t now_ns = clock_.now_ns();
        if (!replica_.may_release(held_.front().entry, now_ns / kNsPerMs)) return held_.front().entry;
        uint64_t waited = now_ns - held_.front().since_ns;
        waits_.all.add(waited);
        waits_.beyond_link.add(waited > round_trip_ns_ ? waited - round_trip_ns_ : 0);
        outside_.submit(held_.front().output, held_.front().entry);
        held_.pop_front();
    }
    return up_to;
}

}  // namespace lockstep::pair
