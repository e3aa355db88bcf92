// How soon the calling thread gets a processor.
#pragma once

namespace lockstep::host {

/// For a thread that sleeps most of the time, but for whose work others wait: when it wakes up it goes before
/// threads that compute. Without the right to ask for that it stays as any other.
void prefer_this_thread();

}  // namespace lockstep::host
