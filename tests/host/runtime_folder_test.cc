// SPDX-License-Identifier: Apache-2.0
#include "host/runtime_folder.h"

#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <optional>

#include "support.h"

namespace lockstep::host {
namespace {

TEST(RuntimeFolder, AVmRunsOnceOnAHost) {
    TemporaryFolder base;
    std::optional<RuntimeFolder> folder = RuntimeFolder::create(base.path(), "web").take();
    EXPECT_EQ(RuntimeFolder::process_of(base.path(), "web"), getpid());
    EXPECT_EQ(RuntimeFolder::running(base.path()), std::vector<std::string>{"web"});
    auto second = RuntimeFolder::create(base.path(), "web");
    ASSERT_FALSE(second.ok());
    expect_contains(second.error().message(),
                    "VM web already runs on this host, as process " + std::to_string(getpid()));
    EXPECT_TRUE(RuntimeFolder::create(base.path(), "db").ok());

    std::ofstream(folder->control_socket()) << "left behind";
    folder.reset();
    EXPECT_FALSE(std::filesystem::exists(base / "web"));
    EXPECT_EQ(RuntimeFolder::process_of(base.path(), "web"), 0);
    EXPECT_TRUE(RuntimeFolder::create(base.path(), "web").ok());
}

TEST(RuntimeFolder, AKilledProcessLeavesNoLock) {
    TemporaryFolder base;
    pid_t child = fork();
    if (child == 0) {
        bool made = RuntimeFolder::create(base.path(), "web").ok();
        auto folder = RuntimeFolder::create(base.path(), "web");
        _exit(made && folder.ok() ? 0 : 1);  // without destructors
    }
    int status = 0;
    waitpid(child, &status, 0);
    ASSERT_EQ(status, 0);
    EXPECT_TRUE(std::filesystem::exists(base / "web/pid"));
    EXPECT_EQ(RuntimeFolder::process_of(base.path(), "web"), 0);
    EXPECT_TRUE(RuntimeFolder::running(base.path()).empty());
    EXPECT_TRUE(RuntimeFolder::create(base.path(), "web").ok());
}

TEST(RuntimeFolder, NamesAreChecked) {
    for (const char* good : {"web", "Web-2.test_x", "7"}) EXPECT_TRUE(check_vm_name(good).ok()) << good;
    for (const char* bad : {"", "..", ".web", "-web", "a/b", "a b", "ü"})
        EXPECT_FALSE(check_vm_name(bad).ok()) << bad;
    EXPECT_FALSE(check_vm_name(std::string(65, 'a')).ok());
    TemporaryFolder base;
    EXPECT_FALSE(RuntimeFolder::create(base.path(), "../web").ok());
}

/// In /tmp anybody may be the first to make the folder, and wait there for a VM, or for its operator.
TEST(RuntimeFolder, ABaseThatMayBeSomebodyElsesIsRefused) {
    TemporaryFolder place;
    auto expect_refusal = [&](const std::string& base, const std::string& why) {
        auto made = RuntimeFolder::create(base, "web");
        ASSERT_FALSE(made.ok());
        expect_contains(made.error().message(), base);
        expect_contains(made.error().message(), why);
        auto found = RuntimeFolder::find(base, "web");
        ASSERT_FALSE(found.ok());
        expect_contains(found.error().message(), why);
        EXPECT_TRUE(RuntimeFolder::running(base).empty());
    };
    std::filesystem::create_directory(place / "real");
    auto vm = RuntimeFolder::create(place / "real", "web");
    ASSERT_TRUE(vm.ok());
    std::filesystem::create_directory_symlink(place / "real", place / "link");
    expect_refusal(place / "link", "is a link or a file");
    ASSERT_EQ(chmod((place / "real").c_str(), 0777), 0);
    expect_refusal(place / "real", "chmod go-w");
    ASSERT_EQ(chmod((place / "real").c_str(), 0755), 0);
    EXPECT_EQ(RuntimeFolder::running(place / "real").size(), 1u);
    if (geteuid() == 0) {
        ASSERT_EQ(chown((place / "real").c_str(), 65534, 65534), 0);
        expect_refusal(place / "real", "belongs to user 65534");
    }
}

TEST(RuntimeFolder, ANewBaseIsItsUsersAlone) {
    TemporaryFolder place;
    mode_t umask_before = umask(0);
    EXPECT_TRUE(RuntimeFolder::create(place / "deep/base", "web").ok());
    umask(umask_before);
    struct stat info {};
    ASSERT_EQ(stat((place / "deep/base").c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777, 0755u);
}

TEST(RuntimeFolder, NoLinkIsFollowedWithinIt) {
    TemporaryFolder place;
    std::filesystem::create_directories(place / "base/web");
    std::filesystem::create_symlink(place / "victim", place / "base/web/pid");
    auto made = RuntimeFolder::create(place / "base", "web");
    ASSERT_FALSE(made.ok());
    expect_contains(made.error().message(), "check the symbolic links");
    EXPECT_FALSE(std::filesystem::exists(place / "victim"));
}

}  // namespace
}  // namespace lockstep::host
