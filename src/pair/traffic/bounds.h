// SPDX-License-Identifier: Apache-2.0
// The bounds of how threads wake each other up (docs/adr/0007-wake-ups.md), and how they depend on each other.
// All of them in nanoseconds of the host's clock, unless their names say otherwise.
#pragma once

#include <cstdint>

namespace lockstep::pair::traffic {

struct Bounds {
    // A guest that sleeps.
    uint64_t long_sleep_ns = 500'000;  ///< from which an input is expected to have an answer
    uint64_t wake_up_ns = 150'000;     ///< in which it should be awake, once an input has come
    uint64_t poll_ns = 2'000'000;      ///< for how long its answer is polled for at most

    // A guest that is busy with traffic: for so long after an input.
    uint64_t busy_ns = 20'000'000;
    uint64_t glance_ns = 50'000;  ///< between its own looks for new work

    // Its outputs, which gather.
    uint64_t group_ns = 200'000;             ///< at least, where it runs alone
    uint64_t group_for_backup_ns = 500'000;  ///< at least, where they wait for a backup
    uint64_t most_groups = 4;                ///< times as long where several packets come in each

    // Entries that no output waits for.
    uint64_t entries_ns = 2'000'000;    ///< for how long they gather
    uint64_t resting_ns = 60'000'000;   ///< those of a guest that sleeps and hears nothing from outside
    uint64_t progress_ns = 10'000'000;  ///< between two looks at the icount of a guest that makes none
    uint64_t replayed_ns = 10'000'000;  ///< between two reports of a replay

    // Its packets, which may lie while they come thick and fast.
    uint64_t rest_ns = 500'000;         ///< at most
    uint64_t rest_window_ns = 500'000;  ///< in which they are counted
    uint64_t many_packets = 2;          ///< of a window
    uint64_t rest_over_ns = 2'000'000;  ///< without packets

    // Inputs that wait for the guest, in bytes: above `many` they wait in the kernel, below `few` they come again.
    uint64_t many_inputs_bytes = 1 << 20, few_inputs_bytes = 256 << 10;
    uint64_t much_typed_bytes = 64 << 10, little_typed_bytes = 16 << 10;
};

inline constexpr Bounds kBounds;

static_assert(kBounds.wake_up_ns < kBounds.long_sleep_ns && kBounds.long_sleep_ns < kBounds.poll_ns,
              "a poll begins after a sleep that is longer than its end takes, and outlasts it");
static_assert(kBounds.glance_ns * 4 <= kBounds.group_ns,
              "what stops a busy guest is seen well before its outputs are due");
static_assert(kBounds.group_ns <= kBounds.group_for_backup_ns,
              "a hand-over with a backup wakes up more threads than one without");
static_assert(kBounds.group_for_backup_ns * kBounds.most_groups <= kBounds.entries_ns,
              "entries that no output waits for never go before those that one does");
static_assert(kBounds.entries_ns < kBounds.progress_ns && kBounds.entries_ns < kBounds.replayed_ns,
              "what nobody waits for is reported least often");
static_assert(kBounds.entries_ns < kBounds.resting_ns, "a guest at rest is in less of a hurry");
static_assert(kBounds.rest_ns <= kBounds.rest_window_ns && kBounds.rest_window_ns < kBounds.rest_over_ns,
              "packets are counted over at least a rest, and a pause in them is longer");
static_assert(kBounds.rest_ns <= kBounds.group_for_backup_ns,
              "packets don't lie for longer than outputs gather");
static_assert(kBounds.rest_over_ns < kBounds.busy_ns && kBounds.poll_ns < kBounds.busy_ns,
              "a guest is called busy for longer than anything is put off for it");
static_assert(kBounds.few_inputs_bytes < kBounds.many_inputs_bytes &&
                  kBounds.little_typed_bytes < kBounds.much_typed_bytes,
              "what was paused is resumed later than it is paused again");

}  // namespace lockstep::pair::traffic
