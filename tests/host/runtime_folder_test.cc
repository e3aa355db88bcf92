#include "host/runtime_folder.h"

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

}  // namespace
}  // namespace lockstep::host
