// SPDX-License-Identifier: Apache-2.0
#include "host/console.h"

#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "host/acceptor.h"
#include "support.h"

namespace lockstep::host {
namespace {

/// Reads what is there, without waiting.
std::string read_now(int fd) {
    std::string text;
    char buffer[65536];
    for (ssize_t size; (size = read(fd, buffer, sizeof buffer)) > 0;)
        text.append(buffer, static_cast<size_t>(size));
    return text;
}

class ConsoleTest : public testing::Test {
  protected:
    ConsoleTest() : loop_(make_loop()), place_(folder_ / "console") {}

    void receive(Console& console) {
        console.set_receiver([this](const Bytes& input) { typed_ += to_text(input); });
    }
    FileDescriptor open_place() {
        return FileDescriptor(open(place_.c_str(), O_RDWR | O_NOCTTY | O_NONBLOCK));
    }
    FileDescriptor connect_client() {
        FileDescriptor client = connect_to_path(place_).take();
        fcntl(client.get(), F_SETFL, O_NONBLOCK);
        run_for(*loop_, 5 * kNsPerMs);
        return client;
    }

    TemporaryFolder folder_;
    std::unique_ptr<EventLoop> loop_;
    std::string place_;
    std::string typed_;
};

TEST_F(ConsoleTest, APtyCarriesBytesBothWaysUnchanged) {
    auto console = create_pty_console(*loop_, place_).take();
    receive(*console);
    EXPECT_EQ(console->place(), place_);
    for (int i = 0; i < 3; i++) {  // attaching again works
        FileDescriptor terminal = open_place();
        ASSERT_TRUE(terminal);
        console->write(to_bytes("login:\n"));
        run_for(*loop_, 2 * kNsPerMs);
        EXPECT_EQ(read_now(terminal.get()), "login:\n") << "raw: no carriage return is added";
        typed_.clear();
        EXPECT_EQ(write(terminal.get(), "root\r\x03", 6), 6);
        EXPECT_TRUE(run_until(*loop_, [&] { return typed_ == "root\r\x03"; })) << typed_;
        EXPECT_EQ(read_now(terminal.get()), "") << "raw: no echo";
    }
    console.reset();
    EXPECT_FALSE(std::filesystem::exists(std::filesystem::symlink_status(place_)));
}

TEST_F(ConsoleTest, APtyThatNobodyReadsKeepsTheNewestAndDoesNotSpin) {
    auto console = create_pty_console(*loop_, place_).take();
    receive(*console);
    std::string line(1000, 'x');
    for (int i = 0; i < 2000; i++) {
        console->write(to_bytes(line));
        if (i % 100 == 0) loop_->run_once(0);
    }
    console->write(to_bytes("the end"));
    uint64_t before = cpu_time_ns();
    run_for(*loop_, 100 * kNsPerMs);
    EXPECT_LT(cpu_time_ns() - before, 20 * kNsPerMs);
    FileDescriptor terminal = open_place();
    std::string text;
    EXPECT_TRUE(run_until(*loop_, [&] {
        text += read_now(terminal.get());
        return text.ends_with("the end");
    }));
    EXPECT_LT(text.size(), Console::kBacklog + (128 << 10));
}

TEST_F(ConsoleTest, AStaleLinkIsReplacedButNoFile) {
    std::filesystem::create_symlink("/dev/null", place_);
    create_pty_console(*loop_, place_).take();
    std::filesystem::create_directory(place_);
    auto refused = create_pty_console(*loop_, place_);
    ASSERT_FALSE(refused.ok());
    expect_contains(refused.error().message(), place_);
}

TEST_F(ConsoleTest, PausedInputWaits) {
    auto console = create_pty_console(*loop_, place_).take();
    receive(*console);
    console->pause_input();
    FileDescriptor terminal = open_place();
    EXPECT_EQ(write(terminal.get(), "abc", 3), 3);
    run_for(*loop_, 10 * kNsPerMs);
    EXPECT_EQ(typed_, "");
    console->resume_input();
    EXPECT_TRUE(run_until(*loop_, [&] { return typed_ == "abc"; }));
}

TEST_F(ConsoleTest, ASocketClientGetsWhatWasSaidBefore) {
    auto console = create_socket_console(*loop_, place_).take();
    receive(*console);
    console->write(to_bytes("booting\n"));
    FileDescriptor first = connect_client();
    EXPECT_EQ(read_now(first.get()), "booting\n");
    FileDescriptor second = connect_client();
    console->write(to_bytes("login: "));
    run_for(*loop_, 2 * kNsPerMs);
    EXPECT_EQ(read_now(first.get()), "login: ");
    EXPECT_EQ(read_now(second.get()), "booting\nlogin: ");
    EXPECT_EQ(write(second.get(), "root\n", 5), 5);
    EXPECT_TRUE(run_until(*loop_, [&] { return typed_ == "root\n"; }));
    second.reset();
    run_for(*loop_, 2 * kNsPerMs);
    console->write(to_bytes("still here"));
    EXPECT_EQ(read_now(first.get()), "still here");
    console.reset();
    EXPECT_FALSE(std::filesystem::exists(place_));
}

TEST_F(ConsoleTest, ASocketClientThatDoesNotReadIsDisconnectedAndTheBacklogIsBounded) {
    auto console = create_socket_console(*loop_, place_).take();
    FileDescriptor lazy = connect_client();
    Bytes line(1000, 'y');
    for (int i = 0; i < 5000; i++) console->write(line);
    console->write(to_bytes("the end"));
    FileDescriptor fresh = connect_client();
    std::string text;
    EXPECT_TRUE(run_until(*loop_, [&] {
        text += read_now(fresh.get());
        return text.ends_with("the end");
    }));
    EXPECT_EQ(text.size(), Console::kBacklog);
    EXPECT_LT(read_now(lazy.get()).size(), 5'000'000u);
    char byte;
    EXPECT_EQ(read(lazy.get(), &byte, 1), 0) << "end of file";
}

TEST_F(ConsoleTest, ABusySocketPathIsNamedAndADeadOneReplaced) {
    auto console = create_socket_console(*loop_, place_).take();
    auto second = create_socket_console(*loop_, place_);
    ASSERT_FALSE(second.ok());
    expect_contains(second.error().message(), place_);
    console.reset();
    listen_at_path(place_).take().reset();  // leaves its file behind
    ASSERT_TRUE(std::filesystem::exists(place_));
    EXPECT_TRUE(create_socket_console(*loop_, place_).ok());
    auto too_long = create_socket_console(*loop_, folder_ / std::string(120, 'a'));
    ASSERT_FALSE(too_long.ok());
    expect_contains(too_long.error().message(), "shorter folder");
}

TEST_F(ConsoleTest, AProgramCanAttachToASocketConsole) {
    auto console = create_socket_console(*loop_, place_).take();
    receive(*console);
    console->write(to_bytes("login: "));
    int input[2], output[2];
    ASSERT_EQ(pipe(input), 0);
    ASSERT_EQ(pipe2(output, O_NONBLOCK), 0);
    pid_t child = fork();
    if (child == 0) {
        dup2(input[0], STDIN_FILENO);
        dup2(output[1], STDOUT_FILENO);
        close(input[1]);
        _exit(attach_terminal(place_).ok() ? 0 : 1);
    }
    close(input[0]);
    close(output[1]);
    FileDescriptor keys(input[1]), screen(output[0]);
    EXPECT_EQ(write(keys.get(), "root\x1d", 5), 5);
    EXPECT_TRUE(run_until(*loop_, [&] { return typed_ == "root\x1d"; })) << "only a terminal has an escape";
    keys.reset();
    run_for(*loop_, 10 * kNsPerMs);
    console->write(to_bytes("Password: "));
    std::string shown;
    for (int i = 0; i < 1000 && shown != "login: Password: "; i++) {
        run_for(*loop_, kNsPerMs);
        shown += read_now(screen.get());
    }
    EXPECT_EQ(shown, "login: Password: ") << "output goes on after the end of the input";
    console.reset();
    int status = 0;
    waitpid(child, &status, 0);
    EXPECT_EQ(status, 0);
}

/// Puts a pseudo-terminal in the place of standard input.
class TerminalConsoleTest : public ConsoleTest {
  protected:
    TerminalConsoleTest() : before_(dup(STDIN_FILENO)) {
        int user, terminal;
        EXPECT_EQ(openpty(&user, &terminal, nullptr, nullptr, nullptr), 0);
        user_ = FileDescriptor(user);
        fcntl(user, F_SETFL, O_NONBLOCK);
        dup2(terminal, STDIN_FILENO);
        close(terminal);
    }
    ~TerminalConsoleTest() override { dup2(before_.get(), STDIN_FILENO); }
    static bool is_raw() {
        termios mode{};
        EXPECT_EQ(tcgetattr(STDIN_FILENO, &mode), 0);
        return !(mode.c_lflag & (ICANON | ECHO | ISIG));
    }

    FileDescriptor before_;
    FileDescriptor user_;
};

TEST_F(TerminalConsoleTest, ItIsRawUntilItEnds) {
    EXPECT_FALSE(is_raw());
    bool escaped = false;
    auto console = create_terminal_console(*loop_, [&] { escaped = true; });
    ASSERT_TRUE(console.ok()) << console.error().message();
    EXPECT_TRUE(is_raw());
    receive(*console.value());
    console.value()->write(to_bytes("hello\r\n"));
    EXPECT_EQ(read_now(user_.get()), "hello\r\n");
    EXPECT_EQ(write(user_.get(),
                    "a\x1d"
                    "b",
                    3),
              3);
    EXPECT_TRUE(run_until(*loop_, [&] { return escaped; }));
    EXPECT_EQ(typed_, "ab") << "the escape itself isn't passed on";
    EXPECT_EQ(fcntl(STDIN_FILENO, F_GETFL) & O_NONBLOCK, 0) << "the shell's descriptor is as before";
    console.take().reset();
    EXPECT_FALSE(is_raw());
}

TEST_F(ConsoleTest, WithoutATerminalThereIsNoTerminalConsole) {
    FileDescriptor before(dup(STDIN_FILENO)), nothing(open("/dev/null", O_RDONLY));
    dup2(nothing.get(), STDIN_FILENO);
    auto console = create_terminal_console(*loop_, {});
    dup2(before.get(), STDIN_FILENO);
    ASSERT_FALSE(console.ok());
    expect_contains(console.error().message(), "no terminal");
}

}  // namespace
}  // namespace lockstep::host
