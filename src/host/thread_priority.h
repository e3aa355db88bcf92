// SPDX-License-Identifier: Apache-2.0
// How soon the calling thread gets a processor.
#pragma once

namespace lockstep::host {

/// For a thread that sleeps most of the time, but for whose work others wait: when it wakes up it goes before
/// threads that compute: at the lowest real-time priority, or, without the right to that, with a better nice
/// value and short slices, as far as that is allowed. Threads that it starts are as any other.
void prefer_this_thread();

}  // namespace lockstep::host
