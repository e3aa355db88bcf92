// SPDX-License-Identifier: Apache-2.0
#include "devices/virtio/pci/msix.h"

namespace lockstep::devices::virtio {

void Msix::reset() {
    state_ = {};
    state_.table.resize(vectors_);
    enabled_ = masked_ = false;
}

void Msix::set_control(bool enabled, bool masked) {
    enabled_ = enabled;
    masked_ = masked;
    send_pending();
}

void Msix::send(unsigned vector) {
    if (!enabled_ || vector >= vectors_) return;
    state_.pending |= uint64_t{1} << vector;
    send_pending();
}

void Msix::send_pending() {
    if (!enabled_ || masked_ || !state_.pending) return;
    for (unsigned vector = 0; vector < vectors_; ++vector) {
        const MsixEntry& entry = state_.table[vector];
        if (!(state_.pending >> vector & 1) || entry.control & 1) continue;
        state_.pending &= ~(uint64_t{1} << vector);
        messages_.deliver_message(entry.address, entry.data);
    }
}

uint64_t Msix::read_table(uint64_t offset, unsigned size) const {
    if ((size != 4 && size != 8) || offset % size || offset / 16 >= vectors_) return 0;
    const MsixEntry& entry = state_.table[offset / 16];
    uint64_t half = offset % 16 < 8 ? entry.address : entry.data | uint64_t{entry.control} << 32;
    return offset % 8 ? half >> 32 : half;
}

void Msix::write_table(uint64_t offset, unsigned size, uint64_t value) {
    if ((size != 4 && size != 8) || offset % size || offset / 16 >= vectors_) return;
    write_word(offset, static_cast<uint32_t>(value));
    if (size == 8) write_word(offset + 4, static_cast<uint32_t>(value >> 32));
    send_pending();
}

void Msix::write_word(uint64_t offset, uint32_t value) {
    MsixEntry& entry = state_.table[offset / 16];
    switch (offset % 16) {
        case 0:
            entry.address = (entry.address & ~0xffffffffull) | (value & ~3u);
            break;
        case 4:
            entry.address = (entry.address & 0xffffffff) | uint64_t{value} << 32;
            break;
        case 8:
            entry.data = value;
            break;
        case 12:
            entry.control = value & 1;
            break;
    }
}

uint64_t Msix::read_pending(uint64_t offset, unsigned size) const {
    if (offset >= 8 || offset + size > 8) return 0;
    return state_.pending >> 8 * offset;
}

}  // namespace lockstep::devices::virtio
