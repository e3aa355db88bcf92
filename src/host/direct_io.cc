// SPDX-License-Identifier: Apache-2.0
#include "host/direct_io.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <new>

#include "host/files.h"

namespace lockstep::host {

namespace {

constexpr uint64_t kBoundary = 4096;
constexpr uint64_t kLeastUnit = 512, kMostUnit = 4096;

/// Kernels before 6.1, and some file systems, don't say: what can be read shows it.
Result<uint64_t> probed_unit(int fd, const std::string& path) {
    AlignedBytes memory(kMostUnit);
    for (uint64_t unit = kLeastUnit; unit <= kMostUnit; unit *= 2) {
        if (pread(fd, memory.all().data(), unit, 0) >= 0) return unit;
        if (errno != EINVAL) return file_error("read disk image", path, errno);
    }
    return no_direct_io(path);
}

}  // namespace

Result<uint64_t> direct_io_unit(int fd, const std::string& path) {
#ifdef STATX_DIOALIGN
    struct statx info {};
    if (statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &info) == 0 && (info.stx_mask & STATX_DIOALIGN) != 0) {
        if (info.stx_dio_offset_align == 0) return no_direct_io(path);
        return std::max<uint64_t>(info.stx_dio_offset_align, kLeastUnit);
    }
#endif
    return probed_unit(fd, path);
}

Error no_direct_io(const std::string& path) {
    return error(
        "disk image {} is shared, but its file system has no direct I/O (O_DIRECT), so what the guest has "
        "written would be lost with a host's memory; move the image to storage that has it (a block device, "
        "ext4, XFS, NFS)",
        path);
}

AlignedBytes::AlignedBytes(uint64_t size) : size_(size) {
    uint64_t whole = (size + kBoundary - 1) / kBoundary * kBoundary;
    bytes_.reset(static_cast<uint8_t*>(std::aligned_alloc(kBoundary, whole)));
    if (!bytes_) throw std::bad_alloc();
}

}  // namespace lockstep::host
