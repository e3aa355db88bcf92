// SPDX-License-Identifier: Apache-2.0
// Writing a recording to a file, off the thread that records.
//
// A thread of its own writes what append() hands over. Where the disk is full or broken the recording ends:
// the file keeps a whole prefix of what was appended, later bytes are thrown away, `failed` is called once,
// and the VM isn't harmed.
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "base/bytes.h"
#include "base/result.h"
#include "host/file_descriptor.h"

namespace lockstep::host {

struct LogFileOptions {
    std::string path;                ///< must not exist yet, lest a recording be lost
    size_t buffer_bytes = 64 << 20;  ///< append() waits while more than that is unwritten
};

class LogFileWriter {
  public:
    /// `failed` comes at most once, on the writing thread.
    static Result<std::unique_ptr<LogFileWriter>> create(const LogFileOptions& options,
                                                         std::function<void(const Error&)> failed);
    /// Writes what is left.
    ~LogFileWriter();
    LogFileWriter(const LogFileWriter&) = delete;
    LogFileWriter& operator=(const LogFileWriter&) = delete;

    /// Hands over bytes. From one thread at a time.
    void append(ByteSpan bytes);
    /// Bytes appended and not yet with the kernel.
    size_t queued_bytes() const;
    /// Waits until everything is on the disk (fdatasync) and closes; the first error of the file's life, if
    /// any.
    Result<void> close();

  private:
    LogFileWriter(std::string path, FileDescriptor file, size_t buffer_bytes,
                  std::function<void(const Error&)> failed);
    void write_until_closed();
    void write_out(const Bytes& bytes);
    void fail(Error reason);

    std::string path_;
    FileDescriptor file_;
    size_t buffer_bytes_;
    std::function<void(const Error&)> failed_;

    mutable std::mutex mutex_;  // guards what follows
    std::condition_variable changed_;
    Bytes pending_;
    size_t writing_ = 0;
    bool closing_ = false;
    std::optional<Error> error_;

    std::thread thread_;
};

}  // namespace lockstep::host
