// SPDX-License-Identifier: Apache-2.0
#include "bus/mmio_bus.h"

#include <algorithm>

#include "base/check.h"

namespace lockstep::bus {

bool MmioBus::claim(GuestPhys first, uint64_t size, RegisterHandler& handler) {
    uint64_t start = first.value();
    CHECK(size != 0);
    if (start + size < start) return false;
    auto next = std::find_if(ranges_.begin(), ranges_.end(),
                             [start](const Range& range) { return range.first + range.size > start; });
    if (next != ranges_.end() && next->first < start + size) return false;
    ranges_.insert(next, {start, size, &handler});
    last_hit_ = 0;
    return true;
}

void MmioBus::release(const RegisterHandler& handler) {
    std::erase_if(ranges_, [&handler](const Range& range) { return range.handler == &handler; });
    last_hit_ = 0;
}

const MmioBus::Range* MmioBus::find(GuestPhys at, unsigned size) {
    auto holds = [at, size](const Range& range) {
        uint64_t offset = at.value() - range.first;
        return at.value() >= range.first && offset < range.size && size <= range.size - offset;
    };
    if (last_hit_ < ranges_.size() && holds(ranges_[last_hit_])) return &ranges_[last_hit_];
    auto after = std::upper_bound(ranges_.begin(), ranges_.end(), at.value(),
                                  [](uint64_t address, const Range& range) { return address < range.first; });
    if (after == ranges_.begin() || !holds(*--after)) return nullptr;
    last_hit_ = static_cast<size_t>(after - ranges_.begin());
    return &*after;
}

uint64_t MmioBus::read(GuestPhys at, unsigned size) {
    uint64_t mask = size >= 8 ? ~uint64_t{0} : (uint64_t{1} << 8 * size) - 1;
    const Range* range = find(at, size);
    return range ? range->handler->read_register(at.value() - range->first, size) & mask : mask;
}

void MmioBus::write(GuestPhys at, unsigned size, uint64_t value) {
    if (const Range* range = find(at, size))
        range->handler->write_register(at.value() - range->first, size, value);
}

}  // namespace lockstep::bus
