// SPDX-License-Identifier: Apache-2.0
#include "host/path_rights.h"

#include <fcntl.h>
#include <linux/landlock.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace lockstep::host {

namespace {

// Of kernels newer than the headers (Documentation/userspace-api/landlock.rst).
#ifndef LANDLOCK_ACCESS_FS_TRUNCATE
constexpr uint64_t LANDLOCK_ACCESS_FS_TRUNCATE = 1ull << 14;
#endif
#ifndef LANDLOCK_ACCESS_FS_IOCTL_DEV
constexpr uint64_t LANDLOCK_ACCESS_FS_IOCTL_DEV = 1ull << 15;
#endif
constexpr int kRefer = 2, kTruncate = 3, kIoctlDevices = 5, kScopes = 6;  // versions of the interface

/// landlock_ruleset_attr as of version 6; older kernels take the beginning.
struct Ruleset {
    uint64_t files = 0;
    uint64_t network = 0;
    uint64_t scoped = 0;
};
constexpr uint64_t kScopeAbstractSockets = 1, kScopeSignals = 2;

/// All that the kernel can watch over.
uint64_t handled_by(int version) {
    uint64_t handled = (LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1;
    if (version >= kRefer) handled |= LANDLOCK_ACCESS_FS_REFER;
    if (version >= kTruncate) handled |= LANDLOCK_ACCESS_FS_TRUNCATE;
    if (version >= kIoctlDevices) handled |= LANDLOCK_ACCESS_FS_IOCTL_DEV;
    return handled;
}

/// What may be allowed of a file; the rest is for folders.
constexpr uint64_t kOfFiles = LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE |
                              LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_TRUNCATE |
                              LANDLOCK_ACCESS_FS_IOCTL_DEV;

uint64_t access_of(PathUse use) {
    constexpr uint64_t kReads = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR;
    constexpr uint64_t kWrites =
        LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_TRUNCATE | LANDLOCK_ACCESS_FS_IOCTL_DEV;
    switch (use) {
        case PathUse::kRead:
            return kReads;
        case PathUse::kReadWrite:
            return kReads | kWrites;
        case PathUse::kOwn:
            return kReads | kWrites | LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_REG |
                   LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_SYM;
        case PathUse::kMakeFiles:
            return kReads | kWrites | LANDLOCK_ACCESS_FS_MAKE_REG;
        case PathUse::kRemoveFolders:
            return LANDLOCK_ACCESS_FS_REMOVE_DIR;
    }
    return 0;
}

Result<void> allow(int ruleset, int opened, uint64_t access, const std::string& path) {
    struct stat info {};
    if (::fstat(opened, &info) == 0 && !S_ISDIR(info.st_mode)) access &= kOfFiles;
    landlock_path_beneath_attr rule{.allowed_access = access, .parent_fd = opened};
    if (access == 0 || ::syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) == 0)
        return {};
    return error("Landlock takes no rule for {}: {}", path, std::strerror(errno));
}

}  // namespace

Result<void> restrict_paths(const std::vector<PathRight>& rights, int nameless_folder) {
    long version = ::syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION);
    if (version < 1)
        return error(
            "this host's kernel offers no Landlock ({}); switch it on by lsm= on the kernel's command line",
            std::strerror(errno));
    Ruleset handled{.files = handled_by(static_cast<int>(version))};
    if (version >= kScopes) handled.scoped = kScopeAbstractSockets | kScopeSignals;
    size_t size = version >= kScopes ? sizeof handled : sizeof handled.files;
    FileDescriptor ruleset(static_cast<int>(::syscall(SYS_landlock_create_ruleset, &handled, size, 0)));
    if (!ruleset) return error("the kernel refuses Landlock: {}", std::strerror(errno));
    for (const PathRight& right : rights) {
        FileDescriptor opened(::open(right.path.c_str(), O_PATH | O_CLOEXEC));
        if (opened) TRY(allow(ruleset.get(), opened.get(), access_of(right.use) & handled.files, right.path));
    }
    if (nameless_folder >= 0)
        TRY(allow(ruleset.get(), nameless_folder, access_of(PathUse::kOwn) & handled.files,
                  "the guest's memory"));
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        ::syscall(SYS_landlock_restrict_self, ruleset.get(), 0) != 0)
        return error("the kernel refuses to restrict this process: {}", std::strerror(errno));
    return {};
}

}  // namespace lockstep::host
