// SPDX-License-Identifier: Apache-2.0
// Asynchronous reads and writes of one file: what a disk image needs of the host's kernel.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "base/result.h"
#include "host/event_loop.h"
#include "host/file_descriptor.h"

namespace lockstep::host {

/// A file with asynchronous operations. It doesn't take them in advance but asks its user for each when the
/// kernel has room for it, so that nothing can happen between the user's decision and the kernel.
/// Tests put a faulty file here.
class BlockIo {
  public:
    enum class Kind : uint8_t {
        kRead,
        kWrite,
        kSync,  ///< fdatasync
    };
    struct Operation {
        uint64_t id = 0;  ///< the user's
        Kind kind = Kind::kRead;
        uint64_t offset = 0;  ///< bytes
        /// Read to or written from; must stay valid until the operation has ended.
        std::span<uint8_t> memory;
    };
    /// Called on the loop's thread, never from within submit_soon().
    class User {
      public:
        virtual ~User() = default;
        /// The operation that goes to the kernel now; empty: none does.
        virtual std::optional<Operation> next() = 0;
        /// `result` is the system call's: the bytes moved, or a negative errno. May destroy the BlockIo.
        virtual void ended(uint64_t id, int result) = 0;
    };

    virtual ~BlockIo() = default;
    /// Before all else; the user lives longer.
    void set_user(User& user) { user_ = &user; }
    /// There may be operations to ask for.
    virtual void submit_soon() = 0;

  protected:
    User* user_ = nullptr;
};

/// Operations through io_uring. `file` is open for what will be asked of it; `name` is for messages. The
/// object waits for the operations under way when it is destroyed.
Result<std::unique_ptr<BlockIo>> create_uring_io(EventLoop& loop, FileDescriptor file,
                                                 const std::string& name);

}  // namespace lockstep::host
