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
    : loop_(loop), io_(std::move(io)), size_(size), mode_(mode) {}

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

    Access access = Access::kBarrier;
    if (request.action == DiskAction::kRead) {
        access = Access::kRead;
        request.data.resize(size);
    } else if (request.action == DiskAction::kWrite) {
        access = Access::kWrite;
    }
    uint64_t id = next_id_++;
    uint64_t offset = request.offset;
    requests_.emplace(id, std::make_unique<Request>(Request{std::move(request)}));
    if (order_.add(id, access, offset, size)) issue(id);
}

/// Every way to the kernel leads through here: the first issue, the rest of a short write, a repetition.
void DiskImage::issue(uint64_t id) {
    bool write = requests_.at(id)->request.action == DiskAction::kWrite;
    if (!write || !may_write_) return start(id);
    kept_.push_back(id);
    issue_kept();
}

void DiskImage::issue_kept() {
    while (!kept_.empty() && (!may_write_ || may_write_())) {
        uint64_t id = kept_.front();
        kept_.pop_front();
        start(id);
    }
}

void DiskImage::start(uint64_t id) {
    Request& pending = *requests_.at(id);
    DiskRequest& request = pending.request;
    uint64_t offset = request.offset + pending.moved;
    std::span<uint8_t> rest = std::span(request.data).subspan(pending.moved);
    auto done = [this, id](int result) { completed(id, result); };
    switch (request.action) {
        case DiskAction::kRead:
            return io_->read(offset, rest, std::move(done));
        case DiskAction::kWrite:
            return io_->write(offset, rest, std::move(done));
        case DiskAction::kFlush:
            return io_->sync(std::move(done));
    }
}

void DiskImage::completed(uint64_t id, int result) {
    Request& pending = *requests_.at(id);
    if (result == -EINTR || result == -EAGAIN) {
        if (stopped_) return finish(id, DiskStatus::kStopped);
        return issue(id);
    }
    if (result < 0) return finish(id, status_of(-result));
    if (pending.request.action == DiskAction::kFlush) return finish(id, DiskStatus::kOk);
    if (result == 0) return finish(id, DiskStatus::kIoError);  // the image has become shorter
    pending.moved += static_cast<uint64_t>(result);
    CHECK(pending.moved <= pending.request.data.size());
    if (pending.moved == pending.request.data.size()) return finish(id, DiskStatus::kOk);
    if (stopped_) return finish(id, DiskStatus::kStopped);
    issue(id);
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
    for (uint64_t ready : order_.finish(id)) issue(ready);
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
    std::vector<uint64_t> waiting = order_.remove_waiting();
    std::deque<uint64_t> refused = std::exchange(kept_, {});
    for (uint64_t id : refused) order_.finish(id);
    refused.insert(refused.end(), waiting.begin(), waiting.end());
    for (uint64_t id : refused)
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
