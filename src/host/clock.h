// SPDX-License-Identifier: Apache-2.0
// The host's clocks. Nothing below this room may read them.
#pragma once

#include <pthread.h>

#include <cstdint>

namespace lockstep::host {

inline constexpr uint64_t kNsPerMs = 1'000'000;
inline constexpr uint64_t kNsPerSecond = 1'000'000'000;

/// Nanoseconds of CLOCK_BOOTTIME: they never go back, don't follow corrections of the date, and go on while
/// the process is stopped or the host asleep (a lease must end then too). May be called from any thread.
uint64_t monotonic_ns();

/// Nanoseconds since 1970 (UTC), for the guest's real-time clock at power-on.
uint64_t wall_clock_ns();
/// Seconds since 1970 (UTC), as certificates count.
inline uint64_t date_s() { return wall_clock_ns() / kNsPerSecond; }

/// The processor's time that a running thread of this process has used.
uint64_t thread_cpu_ns(pthread_t thread);

}  // namespace lockstep::host
