// SPDX-License-Identifier: Apache-2.0
// On which processor a thread runs.
//
// A real-time thread stays where it ran last, and goes before what runs there. Where that is the thread whose
// results it waits for, the two take turns on one processor while others are idle: redis in the guest then
// answers half as many requests.
#pragma once

#include <sched.h>

namespace lockstep::host {

/// The processor that the calling thread runs on; -1: unknown.
int current_processor();

/// Keeps one thread off the processor of another.
class ThreadPlacement {
  public:
    /// For the calling thread; it stays among the processors that it may use now.
    ThreadPlacement();
    /// Moves the calling thread, if it runs on `processor` and may use others.
    void keep_off(int processor);

  private:
    cpu_set_t allowed_;
    bool has_choice_ = false;
};

}  // namespace lockstep::host
