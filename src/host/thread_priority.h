// How soon the calling thread gets a processor.
#pragma once

namespace lockstep::host {

/// For a thread that sleeps most of the time, but for whose work others wait: when it wakes up it goes before
/// threads that compute: at a low real-time priority, or, without the right to that, with a better nice
/// value and short slices, as far as that is allowed. Threads that it starts are as any other.
void prefer_this_thread();

/// While one exists the calling thread, if it is a preferred one, polls: it goes before threads that compute,
/// but makes way for other preferred threads.
class PollingPriority {
  public:
    PollingPriority();
    ~PollingPriority();
    PollingPriority(const PollingPriority&) = delete;
    PollingPriority& operator=(const PollingPriority&) = delete;
    /// Lets other threads that poll on this processor have a look, too.
    void give_way() const;

  private:
    bool preferred_;
};

}  // namespace lockstep::host
