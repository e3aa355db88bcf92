// SPDX-License-Identifier: Apache-2.0
// Tells the other side of a connection that this process is dead, before its system gets to it.
//
// The system closes the sockets of a process that was killed after it has given the process's memory back, which
// takes tenths of a second for a large guest. So a small process, the watcher, shares the descriptors and waits
// for a lock that a thread of this one holds. The system passes a robust lock on first of all when its holder
// ends.
//
//     holder               system                     watcher (shares descriptors, not memory)
//     locks, runs ...                                 waits for the lock
//     is killed ---------> passes the lock on ------> shuts the connection down, does what else is wanted, ends
//                          tears the memory down
//                          closes the descriptors
//
// What the holder wrote before is still sent, and nothing is written by it after: so it must be the thread that
// writes. Where the watcher is missing (it was killed, too), the other side learns it from the system, later.
#pragma once

#include <sys/types.h>

#include <functional>

namespace lockstep::host {

/// To be made early, while the process is small and has no other thread at work: the watcher keeps a copy of its
/// memory as it is then.
class DeathWatch {
  public:
    /// The calling thread is the holder. `afterwards`: what the watcher does once the other side can know of the
    /// death, in its own copy of the memory; it finds the descriptors as they were left.
    explicit DeathWatch(const std::function<void()>& afterwards = {});
    /// The watcher ends, and does nothing.
    ~DeathWatch();
    DeathWatch(const DeathWatch&) = delete;
    DeathWatch& operator=(const DeathWatch&) = delete;

    /// The connected socket to shut down; -1: none. To be called again before it is closed.
    void guard(int socket);

    /// The watcher's process; -1: the host refused one.
    pid_t watcher() const { return watcher_; }

  private:
    struct Shared;
    static void watch(Shared& shared, const std::function<void()>& afterwards);

    Shared* shared_;
    pid_t watcher_;
};

}  // namespace lockstep::host
