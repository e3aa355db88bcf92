// Signals to the process, delivered through the event loop.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "base/result.h"
#include "host/event_loop.h"
#include "host/file_descriptor.h"

namespace lockstep::host {

/// Delivers signals such as SIGTERM to a callback on the loop. They are blocked in the calling thread and in
/// those that it starts later: make this before any other thread. SIGPIPE and SIGXFSZ are
/// ignored from then on: the write that brings them fails instead.
class SignalSource {
  public:
    static Result<std::unique_ptr<SignalSource>> create(EventLoop& loop, const std::vector<int>& signals,
                                                        std::function<void(int signal)> callback);

  private:
    SignalSource(EventLoop& loop, FileDescriptor descriptor, std::function<void(int)> callback);
    void receive();

    FileDescriptor descriptor_;
    std::function<void(int)> callback_;
    Watch watch_;
};

}  // namespace lockstep::host
