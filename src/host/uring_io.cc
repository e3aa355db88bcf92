// Asynchronous file operations through io_uring. The ring's own descriptor is watched by the event loop: it
// is readable while completions wait.
#include <liburing.h>

#include <cerrno>
#include <cstring>
#include <deque>
#include <unordered_map>
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

    void read(uint64_t offset, std::span<uint8_t> out, Done done) override {
        start({.kind = IORING_OP_READ,
               .memory = out.data(),
               .size = out.size(),
               .offset = offset,
               .done = std::move(done)});
    }
    void write(uint64_t offset, ByteSpan in, Done done) override {
        start({.kind = IORING_OP_WRITE,
               .memory = const_cast<uint8_t*>(in.data()),
               .size = in.size(),
               .offset = offset,
               .done = std::move(done)});
    }
    void sync(Done done) override {
        start({.kind = IORING_OP_FSYNC, .memory = nullptr, .size = 0, .offset = 0, .done = std::move(done)});
    }

  private:
    struct Operation {
        io_uring_op kind;
        void* memory;
        size_t size;
        uint64_t offset;
        Done done;
    };

    void start(Operation operation) {
        CHECK(operation.size <= INT32_MAX, "a disk request of {} bytes is too long", operation.size);
        waiting_.push_back(std::move(operation));
        if (std::exchange(submits_later_, true)) return;
        loop_.at_end_of_round([this, alive = std::weak_ptr<bool>(alive_)] {
            if (alive.expired()) return;
            submits_later_ = false;
            submit_waiting();
            reap();  // what was in the host's page cache has been read already
        });
    }

    /// At most as many operations as the ring has entries are with the kernel at a time.
    void submit_waiting() {
        bool prepared = false;
        while (!waiting_.empty() && running_ < kRingEntries) {
            io_uring_sqe* entry = io_uring_get_sqe(&ring_);
            if (!entry) break;
            prepare(entry, waiting_.front());
            uint64_t id = next_id_++;
            io_uring_sqe_set_data64(entry, id);
            operations_.emplace(id, std::move(waiting_.front().done));
            waiting_.pop_front();
            running_++;
            prepared = true;
        }
        if (!prepared) return;
        int result;
        do {
            result = io_uring_submit(&ring_);
        } while (result == -EINTR || result == -EAGAIN);
        CHECK(result >= 0, "io_uring_submit failed: {}", std::strerror(-result));
    }

    void prepare(io_uring_sqe* entry, const Operation& operation) {
        unsigned size = static_cast<unsigned>(operation.size);
        switch (operation.kind) {
            case IORING_OP_READ:
                io_uring_prep_read(entry, file_.get(), operation.memory, size, operation.offset);
                break;
            case IORING_OP_WRITE:
                io_uring_prep_write(entry, file_.get(), operation.memory, size, operation.offset);
                break;
            default:
                io_uring_prep_fsync(entry, file_.get(), IORING_FSYNC_DATASYNC);
                break;
        }
    }

    /// Collects first and calls back afterwards: a callback may start further operations, or destroy this
    /// object.
    void reap() {
        std::vector<std::pair<Done, int>> ended;
        io_uring_cqe* completion;
        while (io_uring_peek_cqe(&ring_, &completion) == 0) {
            auto found = operations_.find(io_uring_cqe_get_data64(completion));
            CHECK(found != operations_.end());
            ended.emplace_back(std::move(found->second), completion->res);
            operations_.erase(found);
            io_uring_cqe_seen(&ring_, completion);
            running_--;
        }
        submit_waiting();
        std::weak_ptr<bool> alive = alive_;
        for (auto& [done, result] : ended) {
            if (alive.expired()) return;
            done(result);
        }
    }

    EventLoop& loop_;
    FileDescriptor file_;
    io_uring ring_;
    std::deque<Operation> waiting_;
    std::unordered_map<uint64_t, Done> operations_;
    uint64_t next_id_ = 1;
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
