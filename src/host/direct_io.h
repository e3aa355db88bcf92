// SPDX-License-Identifier: Apache-2.0
// Direct I/O: past the host's page cache, so that what has been written is on the storage and not in the memory
// of a host that may die. The kernel takes it only in whole units and from aligned memory.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>
#include <string>

#include "base/result.h"

namespace lockstep::host {

/// Bytes in which offsets and sizes of direct I/O on the open file `fd` are counted, at least 512; an error
/// where its file system has none. `path` is for messages.
Result<uint64_t> direct_io_unit(int fd, const std::string& path);
/// What is said where a file can't be opened for direct I/O.
Error no_direct_io(const std::string& path);

/// Memory for direct I/O, on a boundary that suits every device.
class AlignedBytes {
  public:
    AlignedBytes() = default;
    explicit AlignedBytes(uint64_t size);
    std::span<uint8_t> all() { return {bytes_.get(), size_}; }

  private:
    struct Free {
        void operator()(uint8_t* bytes) const { std::free(bytes); }
    };
    std::unique_ptr<uint8_t[], Free> bytes_;
    uint64_t size_ = 0;
};

}  // namespace lockstep::host
