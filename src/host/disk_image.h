// SPDX-License-Identifier: Apache-2.0
// The backend of a disk: a raw image file.
//
// Goals: requests that touch the same bytes take effect in the order of their submission, others run side by
// side (disk/request_queue.h); a flush is honoured; an error of the host becomes a status for the guest;
// right before a write goes to the kernel the write gate is asked; after stop_issuing() no further write
// reaches the file; a write to a shared image that has been answered is on its storage, not in the memory of
// this host (direct I/O, in whole units of the storage).
//
// Life cycle of a request: submit() -> [waits for overlapping ones, the loop's round, room in the kernel's
// ring, the write gate] -> issued to the kernel -> done(status).
//
// All calls and callbacks are on the loop's thread; a callback never comes from within submit().
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "base/strong.h"
#include "disk/request_queue.h"
#include "host/allowed_paths.h"
#include "host/block_io.h"
#include "host/event_loop.h"

namespace lockstep::host {

inline constexpr uint64_t kSectorSize = 512;

enum class DiskAction : uint8_t { kRead, kWrite, kFlush };

enum class DiskStatus : uint8_t {
    kOk,
    kIoError,     ///< the host could not read or write, or the image ended too early
    kNoSpace,     ///< the host's file system is full
    kOutOfRange,  ///< not within the disk, or a write to a read-only disk
    kStopped,     ///< not issued, or not to its end, because of stop_issuing()
};

struct DiskRequest {
    /// `data` is what was read; empty for the other actions.
    using Done = std::function<void(DiskStatus status, Bytes data)>;

    DiskAction action = DiskAction::kRead;
    uint64_t offset = 0;  ///< bytes
    uint64_t size = 0;    ///< bytes to read; a write takes data.size()
    Bytes data;           ///< of a write
    LogPos entry{};       ///< of a write: what the write gate is asked about
    Done done;
};

/// Who else may have the image open.
enum class DiskSharing : uint8_t {
    kExclusive,  ///< nobody: refused while another process has it open; readers of a read-only disk may share
    /// Others that also say kShared: the disk of a pair on shared storage. What is written passes this host's
    /// page cache by, which would die with it.
    kShared,
};

enum class DiskMode : uint8_t { kReadWrite, kReadOnly };

struct DiskOptions {
    std::string path;
    DiskSharing sharing = DiskSharing::kExclusive;
    DiskMode mode = DiskMode::kReadWrite;
    std::optional<AllowedPaths> allowed =
        {};  ///< what is opened must lie in these; unset: it may lie anywhere
};

class DiskImage : private BlockIo::User {
  public:
    /// Fails with a sentence where the file is missing, may not be opened, is locked by another process, is
    /// empty or isn't a multiple of 512 bytes; a shared one that is written to also where its storage has no
    /// direct I/O, or where it isn't a multiple of the storage's unit.
    static Result<std::unique_ptr<DiskImage>> create(EventLoop& loop, const DiskOptions& options);
    /// Fails with the same sentences, but for that of the lock, which isn't taken.
    static Result<void> check(const DiskOptions& options);
    /// The size in bytes of the image at `path`, with the same checks but without a lock.
    static Result<uint64_t> size_of(const std::string& path);

    /// `unit`: `io` takes whole units of so many bytes, from aligned memory; 1: anything.
    DiskImage(EventLoop& loop, std::unique_ptr<BlockIo> io, uint64_t size, DiskMode mode, uint64_t unit = 1);
    ~DiskImage() override;
    DiskImage(const DiskImage&) = delete;
    DiskImage& operator=(const DiskImage&) = delete;

    uint64_t size() const { return size_; }
    void submit(DiskRequest request);

    /// Asked right before each write is handed to the kernel, whatever it has waited for. While it says no,
    /// writes are kept, in order; issue_kept() has it asked again.
    using WriteGate = std::function<bool(LogPos entry)>;
    void set_write_gate(WriteGate may_write) { may_write_ = std::move(may_write); }
    void issue_kept() {
        if (order_.has_ready()) io_->submit_soon();
    }

    /// The fence: requests that wait or are kept, and all that come later, end with kStopped. Those already
    /// issued to the kernel go on and are reported as usual. There is no way back.
    void stop_issuing();
    /// Requests submitted and not ended.
    size_t in_flight() const { return requests_.size(); }

    struct Counters {
        uint64_t reads = 0, writes = 0, flushes = 0, bytes_read = 0, bytes_written = 0, errors = 0;
    };
    const Counters& counters() const { return counters_; }

  private:
    struct Request;

    void prepare(Request& pending);
    std::optional<BlockIo::Operation> next() override;
    void ended(uint64_t id, int result) override;
    void again(uint64_t id);
    void finish(uint64_t id, DiskStatus status);
    void report_later(DiskRequest request, DiskStatus status);

    EventLoop& loop_;
    std::unique_ptr<BlockIo> io_;
    uint64_t size_;
    DiskMode mode_;
    uint64_t unit_;
    bool stopped_ = false;
    uint64_t next_id_ = 0;
    disk::RequestQueue order_;
    std::unordered_map<uint64_t, std::unique_ptr<Request>> requests_;
    WriteGate may_write_ = [](LogPos) { return true; };
    Counters counters_;
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);  // posted reports look at it
};

}  // namespace lockstep::host
