// SPDX-License-Identifier: Apache-2.0
// Recording a guest's log to a file.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "host/event_loop.h"
#include "host/log_file.h"
#include "record/log_stream.h"
#include "record/payloads.h"

namespace lockstep::vmm {

/// Who records here: this build on this processor.
Result<record::Identity> own_identity();

class FileRecording : private record::FrameSink {
  public:
    /// A file that doesn't tell the machine's first state is removed.
    ~FileRecording() override;
    /// Makes the file. `failed` comes on the loop's thread: the file then keeps what it has, the VM goes on.
    static Result<std::unique_ptr<FileRecording>> create(host::EventLoop& loop, const std::string& path,
                                                         x86::CpuModel guest,
                                                         std::function<void(const Error&)> failed);
    /// The log begins at power-on, with a machine of `configuration`. Comes before all that follows.
    void begin(ByteSpan configuration);
    /// Or it begins at `position` and `icount` in the midst of the machine's life: its pages, which may come from another
    /// thread, then the state (drive::save_without_memory()). Entries that come meanwhile wait for that.
    void begin_snapshot(ByteSpan configuration, LogPos position, Icount icount);
    void add_pages(ByteSpan records) { writer_->snapshot_piece(records, false); }
    void end_snapshot(ByteSpan state);

    /// Something is in the file, or on its way there.
    bool has_begun() const { return writer_ != nullptr; }
    /// It tells the machine's first state.
    bool tells_start() const { return tells_start_; }

    void append(const record::Entry& entry);
    /// Hands what was appended to the file.
    void flush() {
        if (tells_start_) writer_->flush();
    }
    /// Ends the log with `reason` at `icount` unless it has ended, and waits for the disk.
    Result<void> finish(Icount icount, record::EndReason reason);
    const std::string& path() const { return path_; }

  private:
    FileRecording(std::string path, record::Identity identity)
        : path_(std::move(path)), identity_(std::move(identity)) {}
    void frame(ByteSpan bytes, LogPos after) override;
    void start(record::Origin origin, ByteSpan configuration, LogPos position, Icount icount);

    std::string path_;
    record::Identity identity_;
    std::unique_ptr<host::LogFileWriter> file_;
    std::unique_ptr<record::LogWriter> writer_;
    bool tells_start_ = false;
    std::vector<record::Entry> waiting_;  ///< until it does
};

}  // namespace lockstep::vmm
