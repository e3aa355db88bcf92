// SPDX-License-Identifier: Apache-2.0
#include "vmm/output_gate.h"

#include <algorithm>

#include "host/clock.h"

namespace lockstep::vmm {

using bus::Output;
using bus::OutputKind;
using devices::virtio::DiskOperation;

bool changes_outside(const Output& output) {
    if (output.kind == OutputKind::kDiskRequest)
        return devices::virtio::operation_of(output.payload) == DiskOperation::kWrite;
    return output.kind != OutputKind::kRandomRequest;
}

bool is_disk_read(const Output& output) {
    return output.kind == OutputKind::kDiskRequest &&
           devices::virtio::operation_of(output.payload) == DiskOperation::kRead;
}

bool OutputGate::passes(const Output& output) const {
    if (changes_outside(output)) return false;
    if (output.kind != OutputKind::kDiskRequest) return true;
    auto request = devices::virtio::decode_disk_request(output.payload);
    return request && std::ranges::none_of(held_, [&](const Held& held) {
               if (held.output.kind != OutputKind::kDiskRequest || held.output.device != output.device)
                   return false;
               auto earlier = devices::virtio::decode_disk_request(held.output.payload);
               return !earlier || devices::virtio::conflict(earlier.value(), request.value());
           });
}

void OutputGate::made(LogPos entry, uint64_t made_ns, Output output) {
    switch (replica_.on_output(now_ms_(), entry)) {
        case replica::OutputFate::kDrop:
            return;
        case replica::OutputFate::kRelease:
            if (held_.empty() || passes(output)) return out_(output, entry);
            break;
        case replica::OutputFate::kHold:
            if (passes(output)) return out_(output, entry);
            break;
    }
    held_.push_back({entry, made_ns, std::move(output)});
}

LogPos OutputGate::release(LogPos up_to) {
    while (!held_.empty() && held_.front().entry < up_to) {
        if (!replica_.may_release(held_.front().entry, now_ms_())) return held_.front().entry;
        uint64_t waited = host::monotonic_ns() - held_.front().since_ns;
        waits_.all.add(waited);
        waits_.beyond_link.add(waited > round_trip_ns_ ? waited - round_trip_ns_ : 0);
        out_(held_.front().output, held_.front().entry);
        held_.pop_front();
    }
    return up_to;
}

}  // namespace lockstep::vmm
