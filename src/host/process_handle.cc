// SPDX-License-Identifier: Apache-2.0
#include "host/process_handle.h"

#include <poll.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "base/result.h"

extern "C" {  // which the C library's own header lacks
#include <sys/pidfd.h>
}

namespace lockstep::host {

namespace {

namespace fs = std::filesystem;

/// What a folder holds; what of it is there while it vanishes.
std::vector<fs::path> entries_of(const fs::path& folder) {
    std::vector<fs::path> entries;
    std::error_code failed;
    for (fs::directory_iterator next(folder, failed); !failed && next != fs::directory_iterator();
         next.increment(failed))
        entries.push_back(next->path());
    return entries;
}

/// Looked for in what the kernel says of the descriptor, since a look at the file itself may wait for a storage
/// that doesn't answer.
bool locks_inode(const fs::path& descriptor_info, ino_t inode) {
    std::ifstream info(descriptor_info);
    std::string wanted = fmt::format(":{} ", inode);
    for (std::string line; std::getline(info, line);)
        if (line.starts_with("lock:") && line.find(" OFDLCK ") != std::string::npos &&
            line.find(wanted) != std::string::npos)
            return true;
    return false;
}

}  // namespace

std::optional<ProcessHandle> ProcessHandle::open(pid_t number) {
    if (number <= 0) return std::nullopt;
    FileDescriptor handle(::pidfd_open(number, 0));
    if (!handle) return std::nullopt;
    return ProcessHandle(number, std::move(handle));
}

bool ProcessHandle::holds_lock(int file) const {
    struct stat wanted {};
    if (::fstat(file, &wanted) < 0) return false;
    fs::path process = fmt::format("/proc/{}", number_);
    for (const fs::path& entry : entries_of(process / "fdinfo")) {
        if (!locks_inode(entry, wanted.st_ino)) continue;
        struct stat found {};
        fs::path descriptor = process / "fd" / entry.filename();
        if (::stat(descriptor.c_str(), &found) == 0 && found.st_dev == wanted.st_dev)
            return signal(0);  // still alive, so all of this was told of it
    }
    return false;
}

bool ProcessHandle::signal(int number) const {
    return ::pidfd_send_signal(handle_.get(), number, nullptr, 0) == 0;
}

bool ProcessHandle::wait_for_end(uint64_t timeout_ms) const {
    pollfd polled{handle_.get(), POLLIN, 0};
    return ::poll(&polled, 1, static_cast<int>(timeout_ms)) > 0;
}

}  // namespace lockstep::host
