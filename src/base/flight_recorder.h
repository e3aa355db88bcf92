// SPDX-License-Identifier: Apache-2.0
// The flight recorder: the last few thousand things that happened, kept in memory and printed when a check
// fails.
//
// Writing an event costs a few nanoseconds, so the recorder is always on. Each recorder has one writing
// thread (the vCPU thread, as a rule). It observes; nothing in the machine may depend on it.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/strong.h"

namespace lockstep {

// LOCKSTEP_FLIGHT_EVENT(name, "what happened", "first number", "second number"); numbers are shown in hex.
// clang-format off
#define LOCKSTEP_FLIGHT_EVENTS(LOCKSTEP_FLIGHT_EVENT)                                         \
    LOCKSTEP_FLIGHT_EVENT(kLive,        "the guest runs here",      "position", "outputs")    \
    LOCKSTEP_FLIGHT_EVENT(kReplay,      "a replay begins",          "position", "outputs")    \
    LOCKSTEP_FLIGHT_EVENT(kReplayed,    "entries replayed",         "position", "hashes")     \
    LOCKSTEP_FLIGHT_EVENT(kEntry,       "log entry made",           "kind",     "device")     \
    LOCKSTEP_FLIGHT_EVENT(kOutput,      "output made",              "kind",     "device")     \
    LOCKSTEP_FLIGHT_EVENT(kMark,        "mark for a debugger",      "number",   "number")
// clang-format on

enum class FlightEvent : uint8_t {
#define LOCKSTEP_FLIGHT_EVENT(name, text, first, second) name,
    LOCKSTEP_FLIGHT_EVENTS(LOCKSTEP_FLIGHT_EVENT)
#undef LOCKSTEP_FLIGHT_EVENT
};

class FlightRecorder {
  public:
    static constexpr size_t kEvents = 4096;  ///< a power of two

    FlightRecorder();
    /// Stops being the recorder that a failed check prints.
    ~FlightRecorder();
    FlightRecorder(const FlightRecorder&) = delete;
    FlightRecorder& operator=(const FlightRecorder&) = delete;

    void record(FlightEvent event, Icount icount, uint64_t first = 0, uint64_t second = 0) {
        uint64_t number = written_.load(std::memory_order_relaxed);
        (*ring_)[number % kEvents] = {icount, first, second, event};
        written_.store(number + 1, std::memory_order_release);
    }

    /// The last `most` events, oldest first, a line each.
    std::string text(size_t most = kEvents) const;
    uint64_t written() const { return written_.load(std::memory_order_acquire); }

    /// From now on a failed check prints this recorder's last events to standard error (see set_dump_hook).
    void dump_on_failed_check();

  private:
    struct Event {
        Icount icount;
        uint64_t first = 0;
        uint64_t second = 0;
        FlightEvent kind{};
    };

    std::unique_ptr<std::array<Event, kEvents>> ring_;
    std::atomic<uint64_t> written_{0};
};

}  // namespace lockstep
