// SPDX-License-Identifier: Apache-2.0
#include "base/flight_recorder.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

#include "base/check.h"

namespace lockstep {

namespace {

constexpr size_t kDumpedEvents = 256;

struct Row {
    std::string_view text;
    std::string_view first;
    std::string_view second;
};

constexpr Row kRows[] = {
#define LOCKSTEP_FLIGHT_EVENT(name, text, first, second) {text, first, second},
    LOCKSTEP_FLIGHT_EVENTS(LOCKSTEP_FLIGHT_EVENT)
#undef LOCKSTEP_FLIGHT_EVENT
};

/// A dump hook takes no argument, so the recorder to print is known here.
std::atomic<const FlightRecorder*> dumped{nullptr};

void dump() {
    const FlightRecorder* recorder = dumped.load();
    if (!recorder) return;
    std::string text = recorder->text(kDumpedEvents);
    std::fprintf(stderr, "the last of %llu events:\n%s", static_cast<unsigned long long>(recorder->written()),
                 text.c_str());
}

}  // namespace

FlightRecorder::FlightRecorder() : ring_(std::make_unique<std::array<Event, kEvents>>()) {}

FlightRecorder::~FlightRecorder() {
    const FlightRecorder* self = this;
    dumped.compare_exchange_strong(self, nullptr);
}

std::string FlightRecorder::text(size_t most) const {
    uint64_t end = written();
    uint64_t count = std::min<uint64_t>({end, most, kEvents});
    std::string lines;
    for (uint64_t number = end - count; number < end; ++number) {
        const Event& event = (*ring_)[number % kEvents];
        const Row& row = kRows[static_cast<size_t>(event.kind)];
        lines +=
            fmt::format("{:>10}  icount {:<16} {:<24} {} {:#x}, {} {:#x}\n", number, event.icount.value(),
                        row.text, row.first, event.first, row.second, event.second);
    }
    return lines;
}

void FlightRecorder::dump_on_failed_check() {
    dumped.store(this);
    set_dump_hook(dump);
}

}  // namespace lockstep
