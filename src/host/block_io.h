// Asynchronous reads and writes of one file: what a disk image needs of the host's kernel.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "base/bytes.h"
#include "base/result.h"
#include "host/event_loop.h"
#include "host/file_descriptor.h"

namespace lockstep::host {

/// A file with asynchronous operations. A completion comes on the loop's thread, never before the call that
/// started the operation has returned, and carries the system call's result: the bytes moved, or a negative
/// errno. The memory must stay valid until then. Tests put a faulty file here.
class BlockIo {
  public:
    using Done = std::function<void(int result)>;

    virtual ~BlockIo() = default;
    virtual void read(uint64_t offset, std::span<uint8_t> out, Done done) = 0;
    virtual void write(uint64_t offset, ByteSpan in, Done done) = 0;
    /// fdatasync
    virtual void sync(Done done) = 0;
};

/// Operations through io_uring. `file` is open for what will be asked of it; `name` is for messages. The
/// object may only be destroyed when no operation is under way; it waits for those that are.
Result<std::unique_ptr<BlockIo>> create_uring_io(EventLoop& loop, FileDescriptor file,
                                                 const std::string& name);

}  // namespace lockstep::host
