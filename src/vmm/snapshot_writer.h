// SPDX-License-Identifier: Apache-2.0
// The memory of a running guest, as it was at the cut of a clone, on its way into a recording's file. A thread of its
// own takes the pages and writes them; the guest waits for it only where it writes to pages faster than the file takes
// them (memory/clone.h).
#pragma once

#include <functional>
#include <thread>

#include "memory/clone.h"
#include "vmm/file_recording.h"

namespace lockstep::vmm {

class SnapshotWriter {
  public:
    struct Hooks {
        std::function<Result<void>()> written;   ///< all pages are; what may take long is done here
        std::function<void(Result<void>)> done;  ///< once, last of all
    };
    /// The file has begun. Hooks are called on the thread.
    SnapshotWriter(memory::Clone& clone, FileRecording& file, Hooks hooks);
    /// Whatever is missing then stays so.
    ~SnapshotWriter();
    SnapshotWriter(const SnapshotWriter&) = delete;
    SnapshotWriter& operator=(const SnapshotWriter&) = delete;

  private:
    Result<void> write();

    memory::Clone& clone_;
    FileRecording& file_;
    Hooks hooks_;
    std::thread thread_;
};

}  // namespace lockstep::vmm
