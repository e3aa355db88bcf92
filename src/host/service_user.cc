// SPDX-License-Identifier: Apache-2.0
#include "host/service_user.h"

#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "host/files.h"

namespace lockstep::host {

namespace {

/// As prefer_this_thread() may want (host/thread_priority.cc), where it had CAP_SYS_NICE for it.
void keep_priorities() {
    constexpr rlimit kLowestRealTime{1, 1};
    constexpr rlimit kNiceMinusTen{30, 30};  // 20 - nice
    ::setrlimit(RLIMIT_RTPRIO, &kLowestRealTime);
    ::setrlimit(RLIMIT_NICE, &kNiceMinusTen);
}

}  // namespace

std::optional<ServiceUser> find_service_user(const std::string& name) {
    const passwd* entry = ::getpwnam(name.c_str());
    if (!entry || entry->pw_uid == 0) return std::nullopt;
    return ServiceUser{name, entry->pw_uid, entry->pw_gid};
}

bool may_access(const ServiceUser& user, const std::string& path, Access access) {
    struct stat info {};
    if (::stat(path.c_str(), &info) != 0) return errno == ENOENT;
    bool is_folder = S_ISDIR(info.st_mode);
    mode_t wanted = access == Access::kRead ? 4 : 2;
    if (is_folder) wanted |= 1;
    unsigned shift = info.st_uid == user.user ? 6 : info.st_gid == user.group ? 3 : 0;
    return (info.st_mode >> shift & wanted) == wanted;
}

Result<void> give_to(const ServiceUser& user, const std::string& folder) {
    std::error_code ignored;
    for (const auto& entry : std::filesystem::directory_iterator(folder, ignored))
        if (::lchown(entry.path().c_str(), user.user, user.group) != 0)
            return file_error("give away", entry.path().string(), errno);
    if (::lchown(folder.c_str(), user.user, user.group) != 0) return file_error("give away", folder, errno);
    return {};
}

Result<void> become(const ServiceUser& user) {
    keep_priorities();
    // The C library makes all threads do it.
    if (::setgroups(1, &user.group) != 0 || ::setresgid(user.group, user.group, user.group) != 0 ||
        ::setresuid(user.user, user.user, user.user) != 0)
        return error("this process can't become the user {}: {}", user.name, std::strerror(errno));
    return {};
}

}  // namespace lockstep::host
