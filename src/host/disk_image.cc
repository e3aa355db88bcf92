#include "host/disk_image.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/check.h"
#include "base/log.h"
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

Result<FileDescriptor> open_image(const std::string& path, DiskMode mode) {
    int flags = mode == DiskMode::kReadOnly ? O_RDONLY : O_RDWR;
    FileDescriptor file(open(path.c_str(), flags | O_CLOEXEC));
    if (!file) return file_error("open disk image", path, errno);
    return file;
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
    uint64_t moved = 0;  // bytes read or written so far
};

Result<std::unique_ptr<DiskImage>> DiskImage::create(EventLoop& loop, const DiskOptions& options) {
    FileDescriptor file = TRY(open_image(options.path, options.mode));
    uint64_t size = TRY(checked_size(file.get(), options.path));
    TRY(lock_image(file.get(), options));
    std::unique_ptr<BlockIo> io = TRY(create_uring_io(loop, std::move(file), options.path));
    return std::make_unique<DiskImage>(loop, std::move(io), size, options.mode);
}

Result<uint64_t> DiskImage::size_of(const std::string& path) {
    FileDescriptor file = TRY(open_image(path, DiskMode::kReadOnly));
    return checked_size(file.get(), path);
}

DiskImage::DiskImage(EventLoop& loop, std::unique_ptr<BlockIo> io, uint64_t size, DiskMode mode)
    : loop_(loop), io_(std::move(io)), size_(size), mode_(mode) {
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

    if (request.action == DiskAction::kRead) request.data.resize(size);
    uint64_t id = next_id_++;
    order_.add(id, access_of(request.action), request.offset, size);
    requests_.emplace(id, std::make_unique<Request>(Request{std::move(request)}));
    io_->submit_soon();
}

/// The only way to the kernel: the first time, for the rest of a short write, for a repetition.
std::optional<BlockIo::Operation> DiskImage::next() {
    std::optional<uint64_t> id = order_.next(
        [this](uint64_t write) { return may_write_(requests_.at(write)->request.entry); });
    if (!id) return std::nullopt;
    Request& pending = *requests_.at(*id);
    return BlockIo::Operation{.id = *id,
                              .kind = kind_of(pending.request.action),
                              .offset = pending.request.offset + pending.moved,
                              .memory = std::span(pending.request.data).subspan(pending.moved)};
}

void DiskImage::ended(uint64_t id, int result) {
    Request& pending = *requests_.at(id);
    if (result == -EINTR || result == -EAGAIN) return again(id);
    if (result < 0) return finish(id, status_of(-result));
    if (pending.request.action == DiskAction::kFlush) return finish(id, DiskStatus::kOk);
    if (result == 0) return finish(id, DiskStatus::kIoError);  // the image has become shorter
    pending.moved += static_cast<uint64_t>(result);
    CHECK(pending.moved <= pending.request.data.size());
    if (pending.moved == pending.request.data.size()) return finish(id, DiskStatus::kOk);
    again(id);
}

void DiskImage::again(uint64_t id) {
    if (stopped_) return finish(id, DiskStatus::kStopped);
    order_.again(id);
    io_->submit_soon();
}

void DiskImage::finish(uint64_t id, DiskStatus status) {
    DiskRequest request = std::move(requests_.extract(id).mapped()->request);
    switch (request.action) {
        case DiskAction::kRead:
            counters_.reads++;
            counters_.bytes_read += request.data.size();
            break;
        case DiskAction::kWrite:
            counters_.writes++;
            counters_.bytes_written += request.data.size();
            break;
        case DiskAction::kFlush:
            counters_.flushes++;
            break;
    }
    if (status != DiskStatus::kOk) counters_.errors++;
    order_.finish(id);
    issue_kept();
    bool carries_data = request.action == DiskAction::kRead && status == DiskStatus::kOk;
    std::weak_ptr<bool> alive = alive_;
    request.done(status, carries_data ? std::move(request.data) : Bytes{});
    if (!alive.expired()) check_drained();
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
    check_drained();
}

void DiskImage::drain(Callback done) {
    drain_callbacks_.push_back(std::move(done));
    check_drained();
}

void DiskImage::check_drained() {
    if (!requests_.empty()) return;
    for (Callback& done : std::exchange(drain_callbacks_, {})) {
        loop_.post([alive = std::weak_ptr<bool>(alive_), done = std::move(done)] {
            if (!alive.expired()) done();
        });
    }
}

}  // namespace lockstep::host
