// SPDX-License-Identifier: Apache-2.0
#include "host/hung_process.h"

#include <fcntl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>

#include "host/control_socket.h"
#include "support.h"

namespace lockstep::host {
namespace {

constexpr HungProcessBounds kShort{.answer = 200, .end = 200};
const Claimant kHolder{"holder", "/arbiter"};

Result<void> sure(const Claimant&) { return {}; }
Result<void> not_sure(const Claimant&) { return error("the arbiter says otherwise"); }

/// A process that holds the runtime folder of the VM "web", and then does as it is told.
class Holder {
  public:
    enum class Kind : uint8_t {
        kSleeps,
        kAnswers,        ///< at its control socket
        kClaimsNothing,  ///< and sleeps
    };

    Holder(const std::string& base, Kind kind) {
        int ready[2];
        EXPECT_EQ(pipe2(ready, O_CLOEXEC), 0);
        number_ = fork();
        if (number_ == 0) live(base, kind, ready[1]);
        FileDescriptor read_end(ready[0]), write_end(ready[1]);
        write_end.reset();
        char byte;
        EXPECT_EQ(read(read_end.get(), &byte, 1), 1) << "it couldn't take the folder";
    }
    ~Holder() {
        if (number_ <= 0) return;
        kill(number_, SIGKILL);
        waitpid(number_, nullptr, 0);
    }
    Holder(const Holder&) = delete;
    Holder& operator=(const Holder&) = delete;

    pid_t number() const { return number_; }
    bool is_alive() const {
        return waitid(P_PID, id(), &info(), WEXITED | WNOHANG | WNOWAIT) == 0 && info().si_pid == 0;
    }
    /// The signal that it has ended by; 0: it hasn't.
    int ended_by() {
        int status = 0;
        if (waitpid(number_, &status, WNOHANG) != number_) return 0;
        number_ = 0;
        return WIFSIGNALED(status) ? WTERMSIG(status) : -1;
    }

  private:
    id_t id() const { return static_cast<id_t>(number_); }
    static siginfo_t& info() {
        static siginfo_t info;
        return info;
    }

    [[noreturn]] static void live(const std::string& base, Kind kind, int ready) {
        auto folder = kind == Kind::kClaimsNothing ? RuntimeFolder::create(base, "web")
                                                   : RuntimeFolder::create(base, "web", kHolder);
        if (!folder) _exit(1);
        RuntimeFolder held = folder.take();
        if (kind == Kind::kAnswers) serve(held, ready);
        tell(ready);
        for (;;) pause();
    }
    static void tell(int ready) {
        if (write(ready, "", 1) < 0) _exit(1);
    }
    static void serve(RuntimeFolder& held, int ready) {
        auto loop = make_loop();
        auto server =
            ControlServer::create(*loop, held.control_socket(), [](const Json&, ControlServer::Reply reply) {
                reply({{"role", "backup"}});
            });
        if (!server) _exit(1);
        tell(ready);
        loop->run();
    }
    pid_t number_ = 0;
};

using Kind = Holder::Kind;

TEST(HungProcess, OneThatOwnsNothingIsEnded) {
    for (bool stopped : {false, true}) {
        TemporaryFolder base;
        Holder holder(base.path(), Kind::kSleeps);
        if (stopped) kill(holder.number(), SIGSTOP);
        auto ended = end_hung_process(
            base.path(), "web",
            [](const Claimant& claimant) -> Result<void> {
                EXPECT_EQ(claimant.name, kHolder.name);
                EXPECT_EQ(claimant.arbiter, kHolder.arbiter);
                return {};
            },
            kShort);
        EXPECT_TRUE(ended.ok()) << ended.error().message();
        EXPECT_EQ(holder.ended_by(), SIGKILL);
        EXPECT_TRUE(RuntimeFolder::create(base.path(), "web").ok());
    }
}

TEST(HungProcess, OneThatAnswersIsLeftAlone) {
    TemporaryFolder base;
    Holder holder(base.path(), Kind::kAnswers);
    EXPECT_TRUE(end_hung_process(base.path(), "web", sure, kShort).ok());
    EXPECT_TRUE(holder.is_alive());
    kill(holder.number(), SIGSTOP);
    EXPECT_TRUE(end_hung_process(base.path(), "web", sure, kShort).ok());
    EXPECT_EQ(holder.ended_by(), SIGKILL) << "it doesn't answer any more";
}

TEST(HungProcess, OneThatMayOwnTheVmIsLeftAlone) {
    TemporaryFolder base;
    Holder holder(base.path(), Kind::kSleeps);
    kill(holder.number(), SIGSTOP);
    auto ended = end_hung_process(base.path(), "web", not_sure, kShort);
    ASSERT_FALSE(ended.ok());
    expect_contains(ended.error().message(), "it may own the VM: the arbiter says otherwise");
    expect_contains(ended.error().message(), std::to_string(holder.number()));
    EXPECT_TRUE(holder.is_alive());
}

TEST(HungProcess, OneThatClaimsNothingIsLeftAlone) {
    TemporaryFolder base;
    { Holder earlier(base.path(), Kind::kSleeps); }  // killed: its folder stays, and isn't the next one's
    Holder holder(base.path(), Kind::kClaimsNothing);
    auto ended = end_hung_process(base.path(), "web", sure, kShort);
    ASSERT_FALSE(ended.ok());
    expect_contains(ended.error().message(), "only starts, or has no arbiter");
    EXPECT_TRUE(holder.is_alive());
}

/// The number in the file may be a stranger's by now, or anything.
TEST(HungProcess, OnlyTheHolderOfTheLockIsEnded) {
    TemporaryFolder base, other;
    Holder holder(base.path(), Kind::kSleeps), stranger(other.path(), Kind::kSleeps);
    std::ofstream(base / "web/pid") << stranger.number() << "\n";
    auto ended = end_hung_process(base.path(), "web", sure, kShort);
    ASSERT_FALSE(ended.ok());
    expect_contains(ended.error().message(), "can't be told");
    EXPECT_TRUE(holder.is_alive());
    EXPECT_TRUE(stranger.is_alive());
}

TEST(HungProcess, ItIsNoErrorWhereNobodyIs) {
    TemporaryFolder base;
    EXPECT_TRUE(end_hung_process(base.path(), "web", not_sure, kShort).ok());
    { Holder earlier(base.path(), Kind::kSleeps); }
    EXPECT_TRUE(end_hung_process(base.path(), "web", not_sure, kShort).ok());
}

/// One that the kernel keeps, as for a storage that doesn't answer, can't be ended: that is said, and its folder stays.
TEST(HungProcess, OneThatTheKernelHoldsIsNamed) {
    TemporaryFolder base;
    Holder holder(base.path(), Kind::kSleeps);
    // Its end waits for this process.
    ASSERT_EQ(ptrace(PTRACE_SEIZE, holder.number(), nullptr, PTRACE_O_TRACEEXIT), 0);
    auto ended = end_hung_process(base.path(), "web", sure, kShort);
    ASSERT_FALSE(ended.ok());
    expect_contains(ended.error().message(), "the kernel holds it");
    EXPECT_EQ(RuntimeFolder::process_of(base.path(), "web"), holder.number());
}

TEST(ProcessHandle, KnowsAProcessFromItsSuccessor) {
    pid_t child = fork();
    if (child == 0) {
        for (;;) pause();
    }
    auto handle = ProcessHandle::open(child);
    ASSERT_TRUE(handle);
    EXPECT_FALSE(handle->wait_for_end(10));
    EXPECT_TRUE(handle->signal(SIGKILL));
    EXPECT_TRUE(handle->wait_for_end(5000));
    waitpid(child, nullptr, 0);
    EXPECT_FALSE(handle->signal(SIGKILL)) << "whoever has the number now isn't meant";
    EXPECT_FALSE(ProcessHandle::open(0));
}

/// Those who wait at a process that accepts nobody fill its queue; the next one must not wait for ever.
TEST(HungProcess, AskingOneTakesNoLongerThanItsTimeOut) {
    TemporaryFolder base;
    Holder holder(base.path(), Kind::kAnswers);
    std::string socket = RuntimeFolder::control_socket_of(base.path(), "web");
    kill(holder.number(), SIGSTOP);
    std::vector<FileDescriptor> waiting;
    for (auto one = connect_to_path(socket, 50 * kNsPerMs); one; one = connect_to_path(socket, 50 * kNsPerMs))
        waiting.push_back(one.take());
    ASSERT_GT(waiting.size(), 4u);
    uint64_t before_ns = monotonic_ns();
    auto answer = control_request(socket, {{"action", "status"}}, 100 * kNsPerMs);
    ASSERT_FALSE(answer.ok());
    expect_contains(answer.error().message(), "accepts nobody");
    EXPECT_LT(monotonic_ns() - before_ns, 3 * kNsPerSecond);
}

}  // namespace
}  // namespace lockstep::host
