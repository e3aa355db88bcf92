// SPDX-License-Identifier: Apache-2.0
#include "host/disk_image.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/check.h"
#include "base/log.h"
#include "host/direct_io.h"
#include "host/files.h"

namespace lockstep::host {

namespace {

Result<uint64_t> checked_size(int fd, const std::string& path) {
    struct stat info {};
    if (fstat(fd, &info) < 0) return file_error("read the size of disk image", path, errno);
    if (!S_ISREG(info.st_mode) && !S_ISBLK(info.st_mode))
        return error("disk image {} is neither a file nor a block device; name a raw image", path);
    off_t end = lseek(fd, 0, SEEK_END);
    if (end < 0) return file_error("read the size of disk image", path, errno);
    auto size = static_cast<uint64_t>(end);
    if (size == 0)
        return error("disk image {} is empty; give it a size with 'truncate -s 8G {}'", path, path);
    if (size % kSectorSize != 0) {
        return error(
            "disk image {} has {} bytes, which is no multiple of 512; is it a raw image? If so, lengthen it "
            "with "
            "'truncate -s %512 {}'",
            path, size, path);
    }
    return size;
}

bool is_direct(const DiskOptions& options) {
    return options.sharing == DiskSharing::kShared && options.mode == DiskMode::kReadWrite;
}

Result<FileDescriptor> open_image(const DiskOptions& options) {
    int flags = options.mode == DiskMode::kReadOnly ? O_RDONLY : O_RDWR;
    if (is_direct(options)) flags |= O_DIRECT;
    FileDescriptor file(open(options.path.c_str(), flags | O_CLOEXEC));
    if (!file && errno == EINVAL && is_direct(options)) return no_direct_io(options.path);
    if (!file) return file_error("open disk image", options.path, errno);
    if (options.allowed) TRY(check_opened(file.get(), options.path, *options.allowed));
    return file;
}

/// The unit of what goes to the kernel.
Result<uint64_t> unit_of(int fd, uint64_t size, const DiskOptions& options) {
    if (!is_direct(options)) return 1;
    uint64_t unit = TRY(direct_io_unit(fd, options.path));
    if (size % unit != 0) {
        return error(
            "disk image {} has {} bytes; it is shared, and its storage takes direct I/O in units of {} bytes "
            "alone: lengthen it with 'truncate -s %{} {}'",
            options.path, size, unit, unit, options.path);
    }
    return unit;
}

Result<void> lock_image(int fd, const DiskOptions& options) {
    bool alone = options.sharing == DiskSharing::kExclusive && options.mode == DiskMode::kReadWrite;
    if (flock(fd, (alone ? LOCK_EX : LOCK_SH) | LOCK_NB) == 0) return {};
    if (errno != EWOULDBLOCK) return file_error("lock disk image", options.path, errno);
    return error(
        "disk image {} is in use by another process; stop the VM that has it, or mark the disk as shared on "
        "both sides if "
        "they are a pair",
        options.path);
}

DiskStatus status_of(int error_number) {
    return error_number == ENOSPC || error_number == EDQUOT ? DiskStatus::kNoSpace : DiskStatus::kIoError;
}

disk::Access access_of(DiskAction action) {
    switch (action) {
        case DiskAction::kRead:
            return disk::Access::kRead;
        case DiskAction::kWrite:
            return disk::Access::kWrite;
        case DiskAction::kFlush:
            return disk::Access::kBarrier;
    }
    return disk::Access::kBarrier;
}

BlockIo::Kind kind_of(DiskAction action) {
    switch (action) {
        case DiskAction::kRead:
            return BlockIo::Kind::kRead;
        case DiskAction::kWrite:
            return BlockIo::Kind::kWrite;
        case DiskAction::kFlush:
            return BlockIo::Kind::kSync;
    }
    return BlockIo::Kind::kSync;
}

}  // namespace

struct DiskImage::Request {
    DiskRequest request;
    uint64_t start = 0;         // of `memory` on the disk
    std::span<uint8_t> memory;  // what goes to the kernel or comes from it: whole units
    AlignedBytes aligned;       // where that isn't the request's own data
    bool fills = false;         // a write that reads what is beside it in its units first
    uint64_t moved = 0;         // bytes read or written so far

    std::span<uint8_t> wanted() { return memory.subspan(request.offset - start, request.size); }
};

Result<std::unique_ptr<DiskImage>> DiskImage::create(EventLoop& loop, const DiskOptions& options) {
    FileDescriptor file = TRY(open_image(options));
    uint64_t size = TRY(checked_size(file.get(), options.path));
    TRY(lock_image(file.get(), options));
    uint64_t unit = TRY(unit_of(file.get(), size, options));
    std::unique_ptr<BlockIo> io = TRY(create_uring_io(loop, std::move(file), options.path));
    return std::make_unique<DiskImage>(loop, std::move(io), size, options.mode, unit);
}

Result<void> DiskImage::check(const DiskOptions& options) {
    FileDescriptor file = TRY(open_image(options));
    uint64_t size = TRY(checked_size(file.get(), options.path));
    TRY(unit_of(file.get(), size, options));
    return {};
}

Result<uint64_t> DiskImage::size_of(const std::string& path) {
    FileDescriptor file = TRY(open_image({.path = path, .mode = DiskMode::kReadOnly}));
    return checked_size(file.get(), path);
}

DiskImage::DiskImage(EventLoop& loop, std::unique_ptr<BlockIo> io, uint64_t size, DiskMode mode,
                     uint64_t unit)
    : loop_(loop), io_(std::move(io)), size_(size), mode_(mode), unit_(unit) {
    io_->set_user(*this);
}

DiskImage::~DiskImage() {
    io_.reset();  // waits for the kernel, which writes to the requests' memory
}

void DiskImage::submit(DiskRequest request) {
    if (stopped_) return report_later(std::move(request), DiskStatus::kStopped);
    uint64_t size = request.action == DiskAction::kWrite ? request.data.size() : request.size;
    if (request.action == DiskAction::kFlush) size = 0;
    bool forbidden = request.action == DiskAction::kWrite && mode_ == DiskMode::kReadOnly;
    if (forbidden || request.offset > size_ || size > size_ - request.offset)
        return report_later(std::move(request), DiskStatus::kOutOfRange);
    if (size == 0 && request.action != DiskAction::kFlush)
        return report_later(std::move(request), DiskStatus::kOk);

    request.size = size;
    auto pending = std::make_unique<Request>();
    pending->request = std::move(request);
    prepare(*pending);
    uint64_t id = next_id_++;
    // Two requests in one unit overlap: the one would write back what was beside it before the other.
    order_.add(id, access_of(pending->request.action), pending->start, pending->memory.size());
    requests_.emplace(id, std::move(pending));
    io_->submit_soon();
}

/// Finds the memory of a request: its own data, or aligned memory for the whole units that it touches.
void DiskImage::prepare(Request& pending) {
    DiskRequest& request = pending.request;
    if (unit_ == 1 || request.action == DiskAction::kFlush) {
        request.data.resize(request.size);
        pending.start = request.offset;
        pending.memory = request.data;
        return;
    }
    bool write = request.action == DiskAction::kWrite;
    uint64_t end = (request.offset + request.size + unit_ - 1) / unit_ * unit_;
    pending.start = request.offset / unit_ * unit_;
    pending.aligned = AlignedBytes(end - pending.start);
    pending.memory = pending.aligned.all();
    pending.fills = write && pending.memory.size() != request.size;
    if (write && !pending.fills) std::ranges::copy(request.data, pending.memory.begin());
}

/// The only way to the kernel: the first time, for the rest of a short write, for a repetition.
std::optional<BlockIo::Operation> DiskImage::next() {
    std::optional<uint64_t> id =
        order_.next([this](uint64_t write) { return may_write_(requests_.at(write)->request.entry); });
    if (!id) return std::nullopt;
    Request& pending = *requests_.at(*id);
    return BlockIo::Operation{.id = *id,
                              .kind = pending.fills ? BlockIo::Kind::kRead : kind_of(pending.request.action),
                              .offset = pending.start + pending.moved,
                              .memory = pending.memory.subspan(pending.moved)};
}

void DiskImage::ended(uint64_t id, int result) {
    Request& pending = *requests_.at(id);
    if (result == -EINTR || result == -EAGAIN) return again(id);
    if (result < 0) return finish(id, status_of(-result));
    if (pending.request.action == DiskAction::kFlush) return finish(id, DiskStatus::kOk);
    uint64_t moved = static_cast<uint64_t>(result) / unit_ * unit_;
    if (moved == 0) return finish(id, DiskStatus::kIoError);  // the image has become shorter
    pending.moved += moved;
    CHECK(pending.moved <= pending.memory.size());
    if (pending.moved < pending.memory.size()) return again(id);
    if (!std::exchange(pending.fills, false)) return finish(id, DiskStatus::kOk);
    std::ranges::copy(pending.request.data, pending.wanted().begin());
    pending.moved = 0;
    again(id);
}

void DiskImage::again(uint64_t id) {
    if (stopped_) return finish(id, DiskStatus::kStopped);
    order_.again(id);
    io_->submit_soon();
}

void DiskImage::finish(uint64_t id, DiskStatus status) {
    std::unique_ptr<Request> ended = std::move(requests_.extract(id).mapped());
    DiskRequest& request = ended->request;
    switch (request.action) {
        case DiskAction::kRead:
            counters_.reads++;
            counters_.bytes_read += request.size;
            break;
        case DiskAction::kWrite:
            counters_.writes++;
            counters_.bytes_written += request.size;
            break;
        case DiskAction::kFlush:
            counters_.flushes++;
            break;
    }
    if (status != DiskStatus::kOk) counters_.errors++;
    order_.finish(id);
    issue_kept();
    bool carries_data = request.action == DiskAction::kRead && status == DiskStatus::kOk;
    if (carries_data && unit_ > 1) request.data.assign(ended->wanted().begin(), ended->wanted().end());
    request.done(status, carries_data ? std::move(request.data) : Bytes{});  // may destroy this object
}

void DiskImage::report_later(DiskRequest request, DiskStatus status) {
    std::weak_ptr<bool> alive = alive_;
    loop_.post([alive, done = std::move(request.done), status] {
        if (!alive.expired()) done(status, {});
    });
}

void DiskImage::stop_issuing() {
    stopped_ = true;
    for (uint64_t id : order_.remove_waiting())
        report_later(std::move(requests_.extract(id).mapped()->request), DiskStatus::kStopped);
}

}  // namespace lockstep::host
