// SPDX-License-Identifier: Apache-2.0
#include "host/log_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>

#include "host/files.h"

namespace lockstep::host {

namespace {

// Small appends are gathered for this long, or until there are so many bytes.
constexpr std::chrono::milliseconds kGatherTime{20};
constexpr size_t kGatherBytes = 256 * 1024;

}  // namespace

Result<std::unique_ptr<LogFileWriter>> LogFileWriter::create(const LogFileOptions& options,
                                                             std::function<void(const Error&)> failed) {
    FileDescriptor file(open(options.path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
    if (!file) return file_error("make log file", options.path, errno);
    return std::unique_ptr<LogFileWriter>(
        new LogFileWriter(options.path, std::move(file), options.buffer_bytes, std::move(failed)));
}

LogFileWriter::LogFileWriter(std::string path, FileDescriptor file, size_t buffer_bytes,
                             std::function<void(const Error&)> failed)
    : path_(std::move(path)),
      file_(std::move(file)),
      buffer_bytes_(buffer_bytes),
      failed_(std::move(failed)),
      thread_([this] { write_until_closed(); }) {}

LogFileWriter::~LogFileWriter() { (void)close(); }

void LogFileWriter::append(ByteSpan bytes) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return error_ || pending_.size() + writing_ <= buffer_bytes_; });
    if (error_ || closing_) return;
    size_t before = pending_.size();
    pending_.insert(pending_.end(), bytes.begin(), bytes.end());
    bool wake = before == 0 || (before < kGatherBytes && pending_.size() >= kGatherBytes);
    if (wake) changed_.notify_all();
}

size_t LogFileWriter::queued_bytes() const {
    std::lock_guard lock(mutex_);
    return pending_.size() + writing_;
}

Result<void> LogFileWriter::close() {
    {
        std::lock_guard lock(mutex_);
        closing_ = true;
        changed_.notify_all();
    }
    if (thread_.joinable()) thread_.join();
    std::lock_guard lock(mutex_);
    if (error_) return *error_;
    return {};
}

void LogFileWriter::write_until_closed() {
    std::unique_lock lock(mutex_);
    for (;;) {
        changed_.wait(lock, [&] { return closing_ || !pending_.empty(); });
        changed_.wait_for(lock, kGatherTime, [&] { return closing_ || pending_.size() >= kGatherBytes; });
        if (pending_.empty()) break;  // closing
        Bytes bytes;
        bytes.swap(pending_);
        writing_ = bytes.size();
        lock.unlock();
        write_out(bytes);
        lock.lock();
        writing_ = 0;
        changed_.notify_all();
    }
    bool whole = !error_;
    lock.unlock();
    if (whole && fdatasync(file_.get()) < 0) fail(file_error("write log file", path_, errno));
    file_.reset();
}

void LogFileWriter::write_out(const Bytes& bytes) {
    {
        std::lock_guard lock(mutex_);
        if (error_) return;
    }
    for (ByteSpan rest = bytes; !rest.empty();) {
        ssize_t written = ::write(file_.get(), rest.data(), rest.size());
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) return fail(file_error("write log file", path_, errno));
        rest = rest.subspan(static_cast<size_t>(written));
    }
}

void LogFileWriter::fail(Error reason) {
    {
        std::lock_guard lock(mutex_);
        error_ = reason;
        pending_.clear();
        changed_.notify_all();
    }
    if (failed_) failed_(reason);
}

}  // namespace lockstep::host
