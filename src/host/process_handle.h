// SPDX-License-Identifier: Apache-2.0
// Another process of this host: held by a descriptor, so that its number can't become a stranger's meanwhile.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>

#include "host/file_descriptor.h"

namespace lockstep::host {

class ProcessHandle {
  public:
    /// None where there is no such process.
    static std::optional<ProcessHandle> open(pid_t number);

    pid_t number() const { return number_; }
    /// Readable once the process has ended.
    int descriptor() const { return handle_.get(); }
    /// Whether it, and no other process, holds the lock on an open file (F_OFD_SETLK).
    bool holds_lock(int file) const;
    /// False, with errno, where that isn't allowed or it has ended.
    bool signal(int number) const;
    /// Waits for its end, so that nothing is open in it any more; false where that takes longer.
    bool wait_for_end(uint64_t timeout_ms) const;

  private:
    ProcessHandle(pid_t number, FileDescriptor handle) : number_(number), handle_(std::move(handle)) {}
    pid_t number_;
    FileDescriptor handle_;
};

}  // namespace lockstep::host
