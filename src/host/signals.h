// SPDX-License-Identifier: Apache-2.0
// Signals to the process, delivered through the event loop.
//
// A thread of its own waits for them. A signalfd among what the loop waits for would do without, but wakes up
// the loop's thread for every signal of the process, also those that it doesn't ask for: the faults by which
// a guest's window is filled are thousands in a second.
#pragma once

#include <atomic>
#include <csignal>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "host/event_loop.h"

namespace lockstep::host {

/// Delivers signals such as SIGTERM to a callback on the loop. They are blocked in the calling thread and in
/// those that it starts later: make this before any other thread. SIGPIPE and SIGXFSZ are
/// ignored from then on: the write that brings them fails instead.
class SignalSource {
  public:
    /// `signals` is not empty. The loop must live longer than this object.
    SignalSource(EventLoop& loop, const std::vector<int>& signals, std::function<void(int signal)> callback);
    ~SignalSource();
    SignalSource(const SignalSource&) = delete;
    SignalSource& operator=(const SignalSource&) = delete;

  private:
    void wait();

    EventLoop& loop_;
    sigset_t signals_;
    int any_signal_;  ///< of them
    /// Outlives this object where a delivery is on its way.
    std::shared_ptr<std::function<void(int)>> callback_;
    std::atomic<bool> stopping_ = false;
    std::thread thread_;
};

}  // namespace lockstep::host
