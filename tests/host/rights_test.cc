// SPDX-License-Identifier: Apache-2.0
// What a process can't do any more that has given up its rights. Each case is a process of its own: there is no way back.
#include <fcntl.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <linux/if_packet.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <functional>
#include <iostream>
#include <thread>

#include "host/path_rights.h"
#include "host/service_user.h"
#include "host/system_calls.h"
#include "support.h"

namespace lockstep::host {
namespace {

constexpr int kGood = 0, kSkip = 77;

/// In a new process; the first expectation that doesn't hold is printed there.
class Child {
  public:
    explicit Child(const std::function<int()>& work) {
        std::cout.flush();
        pid_t process = ::fork();
        if (process == 0) ::_exit(work());
        int status = 0;
        ::waitpid(process, &status, 0);
        outcome_ = WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
    }
    int outcome() const { return outcome_; }

  private:
    int outcome_ = 0;
};

/// 0 where a call has failed so.
int refused(long result, int with, const char* what) {
    if (result < 0 && errno == with) return kGood;
    std::cerr << what << ": " << (result < 0 ? std::strerror(errno) : "it worked") << std::endl;
    return 1;
}
int worked(long result, const char* what) {
    if (result >= 0) return kGood;
    std::cerr << what << ": " << std::strerror(errno) << std::endl;
    return 1;
}
long opened(const std::string& path, int flags) {
    FileDescriptor file(::open(path.c_str(), flags | O_CLOEXEC, 0600));
    int why = errno;
    long result = file ? 0 : -1;
    file.reset();
    errno = why;
    return result;
}

TEST(PathRights, NothingElseCanBeOpened) {
    TemporaryFolder folder;
    for (const char* name : {"own", "other", "made", "base", "base/empty"})
        ::mkdir((folder / name).c_str(), 0700);
    std::ofstream(folder / "disk") << "data";
    std::ofstream(folder / "kernel") << "data";
    std::ofstream(folder / "other/secret") << "data";
    Child child([&] {
        Result<void> done = restrict_paths({{folder / "own", PathUse::kOwn},
                                            {folder / "made", PathUse::kMakeFiles},
                                            {folder / "disk", PathUse::kReadWrite},
                                            {folder / "kernel", PathUse::kRead},
                                            {folder / "base", PathUse::kRemoveFolders},
                                            {folder / "missing", PathUse::kOwn}});
        if (!done) {
            std::cerr << done.error().message() << std::endl;
            return kSkip;
        }
        int bad = worked(opened(folder / "disk", O_RDWR), "the disk") |
                  worked(opened(folder / "kernel", O_RDONLY), "the kernel") |
                  worked(opened(folder / "own/new", O_RDWR | O_CREAT), "a file of its own") |
                  worked(::link((folder / "own/new").c_str(), (folder / "own/linked").c_str()), "a link") |
                  worked(::unlink((folder / "own/new").c_str()), "removing it") |
                  worked(opened(folder / "made/new", O_RDWR | O_CREAT), "a recording") |
                  worked(::rmdir((folder / "base/empty").c_str()), "removing a folder");
        bad |= refused(opened(folder / "kernel", O_RDWR), EACCES, "changing the kernel") |
               refused(opened(folder / "other/secret", O_RDONLY), EACCES, "a file of others") |
               refused(opened(folder / "other/new", O_RDWR | O_CREAT), EACCES, "a file elsewhere") |
               refused(opened("/etc/shadow", O_RDONLY), EACCES, "/etc/shadow") |
               refused(::unlink((folder / "made/new").c_str()), EACCES, "removing a recording") |
               refused(::mkdir((folder / "own/folder").c_str(), 0700), EACCES, "a folder");
        std::thread([&] { bad |= refused(opened("/etc/passwd", O_RDONLY), EACCES, "in a thread"); }).join();
        return bad;
    });
    if (child.outcome() == kSkip) GTEST_SKIP() << "the kernel offers no Landlock";
    EXPECT_EQ(child.outcome(), kGood);
}

TEST(SystemCalls, ThoseThatServingAVmDoesntTakeFail) {
    Child child([&] {
        int in_thread = kGood;
        std::atomic<bool> filtered = false;
        std::thread before([&] {
            while (!filtered) std::this_thread::yield();
            in_thread =
                refused(::execl("/bin/true", "true", nullptr), EPERM, "a program, by a thread of before");
        });
        Result<void> done = restrict_system_calls();
        filtered = true;
        before.join();
        if (!done) {
            std::cerr << done.error().message() << std::endl;
            return 1;
        }
        int bad = in_thread | refused(::execl("/bin/true", "true", nullptr), EPERM, "a program") |
                  refused(::ptrace(PTRACE_ATTACH, ::getppid(), nullptr, nullptr), EPERM, "ptrace") |
                  refused(::kill(::getppid(), 0), EPERM, "a signal to another process") |
                  refused(::mount("none", "/tmp", "tmpfs", 0, nullptr), EPERM, "mount") |
                  refused(::setresuid(0, 0, 0), EPERM, "another user") |
                  refused(::socket(AF_PACKET, SOCK_RAW, 0), EPERM, "a packet socket") |
                  refused(::syscall(SYS_unshare, CLONE_NEWUSER), EPERM, "a namespace") |
                  refused(::syscall(SYS_bpf, 0, nullptr, 0), EPERM, "BPF");
        std::thread([&] { bad |= worked(opened("/dev/null", O_RDWR), "a file, in a new thread"); }).join();
        bad |= worked(::socket(AF_INET, SOCK_STREAM, 0), "a TCP socket") |
               worked(::kill(::getpid(), 0), "itself");
        return bad;
    });
    EXPECT_EQ(child.outcome(), kGood);
}

TEST(ServiceUserTest, CantBeRootAgain) {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root, to be somebody else";
    TemporaryFolder folder;
    Child child([&] {
        std::optional<ServiceUser> nobody = find_service_user("nobody");
        if (!nobody || find_service_user("root") || find_service_user("no such user")) return 2;
        if (!give_to(*nobody, folder.path())) return 3;
        int in_thread = kGood;
        std::atomic<bool> changed = false;
        std::thread before([&] {
            while (!changed) std::this_thread::yield();
            in_thread =
                refused(opened("/etc/shadow", O_RDONLY), EACCES, "/etc/shadow, by a thread of before");
        });
        bool became = become(*nobody).ok();
        changed = true;
        before.join();
        if (!became) return 4;
        return in_thread | refused(::setresuid(0, 0, 0), EPERM, "root") |
               refused(::setgroups(0, nullptr), EPERM, "other groups") |
               worked(opened(folder / "file", O_RDWR | O_CREAT), "a file of its own");
    });
    EXPECT_EQ(child.outcome(), kGood);
}

TEST(ServiceUserTest, WhatAUserMayAccess) {
    TemporaryFolder folder;
    ServiceUser user{"somebody", ::geteuid() + 4242, ::getegid() + 4242};
    std::string file = folder / "file";
    std::ofstream(file) << "data";
    ::chmod(file.c_str(), 0600);
    EXPECT_FALSE(may_access(user, file, Access::kRead));
    ::chmod(file.c_str(), 0604);
    EXPECT_TRUE(may_access(user, file, Access::kRead));
    EXPECT_FALSE(may_access(user, file, Access::kChange));
    ServiceUser owner{"owner", ::geteuid(), ::getegid()};
    EXPECT_TRUE(may_access(owner, file, Access::kChange));
    ::chmod(file.c_str(), 0066);
    EXPECT_FALSE(may_access(owner, file, Access::kChange)) << "the owner's bits alone count";
    EXPECT_TRUE(may_access(user, folder / "missing", Access::kChange));
    ::chmod(folder.path().c_str(), 0702);
    EXPECT_FALSE(may_access(user, folder.path(), Access::kChange)) << "a folder is entered, too";
}

}  // namespace
}  // namespace lockstep::host
