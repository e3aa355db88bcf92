// SPDX-License-Identifier: Apache-2.0
#include "memory/huge_file.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <unistd.h>

#include <string>

namespace lockstep::memory {

namespace {

constexpr uint64_t kHugePage = 2 << 20;

/// A tmpfs that no path leads to: memfd_create() gives huge pages only where the host's settings say so.
int open_mount(uint64_t bytes, uint32_t owner) {
    int file_system = fsopen("tmpfs", FSOPEN_CLOEXEC);
    if (file_system < 0) return -1;
    std::string size = std::to_string(bytes), user = std::to_string(owner);
    int mount = -1;
    if (!fsconfig(file_system, FSCONFIG_SET_STRING, "huge", "always", 0) &&
        !fsconfig(file_system, FSCONFIG_SET_STRING, "size", size.c_str(), 0) &&
        !fsconfig(file_system, FSCONFIG_SET_STRING, "uid", user.c_str(), 0) &&
        !fsconfig(file_system, FSCONFIG_SET_STRING, "mode", "0700", 0) &&
        !fsconfig(file_system, FSCONFIG_CMD_CREATE, nullptr, nullptr, 0))
        mount = fsmount(file_system, FSMOUNT_CLOEXEC, 0);
    close(file_system);
    return mount;
}

constexpr uint64_t kNoBound = 0;
int prepared = -1;

}  // namespace

int prepare_huge_files(uint32_t owner) {
    if (prepared < 0) prepared = open_mount(kNoBound, owner);
    return prepared;
}

int open_huge_file(uint64_t bytes) {
    int mount = prepared >= 0 ? prepared : open_mount(bytes + kHugePage, geteuid());
    if (mount < 0) return -1;
    int file = openat(mount, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (mount != prepared) close(mount);
    if (file >= 0 && ftruncate(file, static_cast<off_t>(bytes)) == 0) return file;
    if (file >= 0) close(file);
    return -1;
}

}  // namespace lockstep::memory
