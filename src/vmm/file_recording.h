// SPDX-License-Identifier: Apache-2.0
// Recording a guest's log to a file.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "host/event_loop.h"
#include "host/log_file.h"
#include "record/log_stream.h"
#include "record/payloads.h"

namespace lockstep::vmm {

/// Who records here: this build on this processor.
Result<record::Identity> own_identity();

class FileRecording : private record::FrameSink {
  public:
    /// A file in which nothing has begun is removed.
    ~FileRecording() override;
    /// Makes the file. `failed` comes on the loop's thread: the file then keeps what it has, the VM goes on.
    static Result<std::unique_ptr<FileRecording>> create(host::EventLoop& loop, const std::string& path,
                                                         x86::CpuModel guest,
                                                         std::function<void(const Error&)> failed);
    /// The log begins at `position` with a machine of `configuration`: at power-on, or in `state` (of
    /// drive::save_state()) at `icount`. Comes before all that follows.
    void begin(ByteSpan configuration, const std::optional<Bytes>& state, LogPos position, Icount icount);
    bool has_begun() const { return writer_ != nullptr; }

    void append(const record::Entry& entry) { writer_->append(entry); }
    /// Hands what was appended to the file.
    void flush() { writer_->flush(); }
    /// Ends the log with `reason` at `icount` unless it has ended, and waits for the disk.
    Result<void> finish(Icount icount, record::EndReason reason);
    const std::string& path() const { return path_; }

  private:
    FileRecording(std::string path, record::Identity identity)
        : path_(std::move(path)), identity_(std::move(identity)) {}
    void frame(ByteSpan bytes, LogPos after) override;

    std::string path_;
    record::Identity identity_;
    std::unique_ptr<host::LogFileWriter> file_;
    std::unique_ptr<record::LogWriter> writer_;
};

}  // namespace lockstep::vmm
