// SPDX-License-Identifier: Apache-2.0
// Asynchronous file operations through io_uring. The ring's own descriptor is watched by the event loop: it
// is readable while completions wait.
#include <liburing.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "base/check.h"
#include "host/block_io.h"

namespace lockstep::host {

namespace {

constexpr unsigned kRingEntries = 256;

class UringIo final : public BlockIo {
  public:
    UringIo(EventLoop& loop, FileDescriptor file, const io_uring& ring)
        : loop_(loop),
          file_(std::move(file)),
          ring_(ring),
          watch_(loop.watch(ring_.ring_fd, Interest::kRead, [this](Ready) { reap(); })) {}

    ~UringIo() override {
        while (running_ > 0) {
            io_uring_cqe* completion;
            if (io_uring_wait_cqe(&ring_, &completion) < 0) continue;
            io_uring_cqe_seen(&ring_, completion);
            running_--;
        }
        watch_.reset();
        io_uring_queue_exit(&ring_);
    }

    void submit_soon() override {
        if (std::exchange(submits_later_, true)) return;
        loop_.at_end_of_round([this, alive = std::weak_ptr<bool>(alive_)] {
            if (alive.expired()) return;
            submits_later_ = false;
            submit();
            reap();  // what was in the host's page cache has been read already
        });
    }

  private:
    /// At most as many operations as the ring has entries are with the kernel at a time.
    void submit() {
        while (running_ < kRingEntries) {
            std::optional<Operation> operation = user_->next();
            if (!operation) break;
            prepare(*operation);
            running_++;
        }
        // Nothing may stay behind in the ring: it would leave later, and nobody would ask again.
        while (io_uring_sq_ready(&ring_) > 0) {
            int result = io_uring_submit(&ring_);
            CHECK(result >= 0 || result == -EINTR || result == -EAGAIN, "io_uring_submit failed: {}",
                  std::strerror(-result));
        }
    }

    void prepare(const Operation& operation) {
        io_uring_sqe* entry = io_uring_get_sqe(&ring_);
        CHECK(entry, "the ring has no room for what was submitted before");
        std::span<uint8_t> memory = operation.memory;
        CHECK(memory.size() <= INT32_MAX, "a disk request of {} bytes is too long", memory.size());
        unsigned size = static_cast<unsigned>(memory.size());
        switch (operation.kind) {
            case Kind::kRead:
                io_uring_prep_read(entry, file_.get(), memory.data(), size, operation.offset);
                break;
            case Kind::kWrite:
                io_uring_prep_write(entry, file_.get(), memory.data(), size, operation.offset);
                break;
            case Kind::kSync:
                io_uring_prep_fsync(entry, file_.get(), IORING_FSYNC_DATASYNC);
                break;
        }
        io_uring_sqe_set_data64(entry, operation.id);
    }

    /// Collects first and reports afterwards: the user may ask for more, or destroy this object.
    void reap() {
        std::vector<std::pair<uint64_t, int>> ended;
        io_uring_cqe* completion;
        while (io_uring_peek_cqe(&ring_, &completion) == 0) {
            ended.emplace_back(io_uring_cqe_get_data64(completion), completion->res);
            io_uring_cqe_seen(&ring_, completion);
            running_--;
        }
        submit();
        std::weak_ptr<bool> alive = alive_;
        for (auto [id, result] : ended) {
            if (alive.expired()) return;
            user_->ended(id, result);
        }
    }

    EventLoop& loop_;
    FileDescriptor file_;
    io_uring ring_;
    unsigned running_ = 0;
    bool submits_later_ = false;
    Watch watch_;
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace

Result<std::unique_ptr<BlockIo>> create_uring_io(EventLoop& loop, FileDescriptor file,
                                                 const std::string& name) {
    io_uring ring{};
    int result = io_uring_queue_init(kRingEntries, &ring, 0);
    if (result < 0) {
        return error(
            "disk image {}: this host offers no io_uring ({}); allow it with 'sysctl "
            "kernel.io_uring_disabled=0', or in the "
            "container's seccomp profile",
            name, std::strerror(-result));
    }
    return std::unique_ptr<BlockIo>(std::make_unique<UringIo>(loop, std::move(file), ring));
}

}  // namespace lockstep::host
