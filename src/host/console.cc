// SPDX-License-Identifier: Apache-2.0
// Consoles on a terminal: one descriptor for both directions.
#include "host/console.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <optional>

#include "base/check.h"
#include "host/files.h"
#include "host/random.h"
#include "host/terminal_mode.h"

namespace lockstep::host {

namespace {

constexpr size_t kMostInput = 4096;

/// Reads and writes one non-blocking terminal descriptor. Output that it doesn't take waits in a bounded
/// queue.
class TerminalLine {
  public:
    TerminalLine(EventLoop& loop, FileDescriptor file, Callback escape)
        : loop_(loop),
          file_(std::move(file)),
          escape_(std::move(escape)),
          watch_(loop.watch(file_.get(), Interest::kNone, [this](Ready r) { ready(r); })) {}

    void write(ByteSpan output) {
        size_t sent = waiting_.empty() ? write_some(output) : 0;
        ByteSpan rest = output.subspan(sent);
        waiting_.insert(waiting_.end(), rest.begin(), rest.end());
        if (waiting_.size() > Console::kBacklog)
            waiting_.erase(waiting_.begin(), waiting_.end() - static_cast<ptrdiff_t>(Console::kBacklog));
        update_interest();
    }
    void set_receiver(Console::Receiver receiver) {
        receiver_ = std::move(receiver);
        update_interest();
    }
    void set_paused(bool paused) {
        paused_ = paused;
        update_interest();
    }

  private:
    void ready(Ready ready) {
        if (ready.writable && !waiting_.empty()) {
            size_t sent = write_some(waiting_);
            waiting_.erase(waiting_.begin(), waiting_.begin() + static_cast<ptrdiff_t>(sent));
            update_interest();
        }
        if (ready.readable && receiver_ && !paused_) read();
    }

    size_t write_some(ByteSpan bytes) {
        ssize_t sent = ::write(file_.get(), bytes.data(), bytes.size());
        return sent > 0 ? static_cast<size_t>(sent) : 0;
    }

    void read() {
        Bytes input(kMostInput);
        ssize_t size = ::read(file_.get(), input.data(), input.size());
        if (size < 0 && (errno == EAGAIN || errno == EINTR)) return;
        if (size <= 0) {  // the terminal has gone away
            receiver_ = nullptr;
            return update_interest();
        }
        input.resize(static_cast<size_t>(size));
        bool escaped = escape_ && std::erase(input, kEscapeByte) > 0;
        Console::Receiver receiver = receiver_;
        if (escaped) loop_.post(escape_);
        if (!input.empty()) receiver(std::move(input));
    }

    void update_interest() {
        bool reads = receiver_ && !paused_, writes = !waiting_.empty();
        Interest with_reads = writes ? Interest::kReadWrite : Interest::kRead;
        watch_.set_interest(reads ? with_reads : (writes ? Interest::kWrite : Interest::kNone));
    }

    EventLoop& loop_;
    FileDescriptor file_;
    Callback escape_;
    Console::Receiver receiver_;
    bool paused_ = false;
    Bytes waiting_;
    Watch watch_;
};

class PtyConsole final : public Console {
  public:
    PtyConsole(EventLoop& loop, FileDescriptor master, FileDescriptor terminal, std::string target,
               std::string link)
        : terminal_(std::move(terminal)),
          target_(std::move(target)),
          link_(std::move(link)),
          line_(loop, std::move(master), nullptr) {}
    ~PtyConsole() override {
        std::array<char, 64> named{};
        ssize_t size = readlink(link_.c_str(), named.data(), named.size());
        if (size > 0 && std::string_view(named.data(), static_cast<size_t>(size)) == target_)
            unlink(link_.c_str());
    }

    void write(ByteSpan output) override { line_.write(output); }
    void set_receiver(Receiver receiver) override { line_.set_receiver(std::move(receiver)); }
    void pause_input() override { line_.set_paused(true); }
    void resume_input() override { line_.set_paused(false); }
    std::string place() const override { return link_; }

  private:
    FileDescriptor terminal_;  // held open: without it the master reports a hang-up while nobody is attached
    std::string target_;
    std::string link_;
    TerminalLine line_;
};

class TerminalConsole final : public Console {
  public:
    TerminalConsole(EventLoop& loop, FileDescriptor file, RawTerminal mode, std::string name, Callback escape)
        : mode_(std::move(mode)), name_(std::move(name)), line_(loop, std::move(file), std::move(escape)) {}

    void write(ByteSpan output) override { line_.write(output); }
    void set_receiver(Receiver receiver) override { line_.set_receiver(std::move(receiver)); }
    void pause_input() override { line_.set_paused(true); }
    void resume_input() override { line_.set_paused(false); }
    std::string place() const override { return name_; }

  private:
    RawTerminal mode_;
    std::string name_;
    TerminalLine line_;
};

/// Makes or replaces a symbolic link, but nothing else.
Result<void> make_link(const std::string& target, const std::string& link) {
    struct stat info {};
    if (lstat(link.c_str(), &info) == 0 && !S_ISLNK(info.st_mode))
        return error("{} exists and is no symbolic link; remove it, or choose another path for the console",
                     link);
    std::string temporary = link + "." + random_name();
    if (symlink(target.c_str(), temporary.c_str()) < 0) return file_error("make", link, errno);
    if (rename(temporary.c_str(), link.c_str()) == 0) return {};
    int failure = errno;
    unlink(temporary.c_str());
    return file_error("make", link, failure);
}

}  // namespace

Result<std::unique_ptr<Console>> create_pty_console(EventLoop& loop, const std::string& link) {
    FileDescriptor master(posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC));
    std::array<char, 64> name{};
    bool ok = master && grantpt(master.get()) == 0 && unlockpt(master.get()) == 0 &&
              ptsname_r(master.get(), name.data(), name.size()) == 0;
    if (!ok) return file_error("make a pseudo-terminal for", link, errno);
    FileDescriptor terminal(open(name.data(), O_RDWR | O_NOCTTY | O_CLOEXEC));
    termios mode{};
    if (!terminal || tcgetattr(terminal.get(), &mode) < 0) return file_error("open", name.data(), errno);
    cfmakeraw(&mode);
    tcsetattr(terminal.get(), TCSANOW, &mode);
    TRY(make_link(name.data(), link));
    return std::unique_ptr<Console>(
        std::make_unique<PtyConsole>(loop, std::move(master), std::move(terminal), name.data(), link));
}

Result<std::unique_ptr<Console>> create_terminal_console(EventLoop& loop, Callback escape) {
    RawTerminal mode = TRY(RawTerminal::create(STDIN_FILENO));
    std::array<char, 128> name{};
    if (ttyname_r(STDIN_FILENO, name.data(), name.size()) != 0)
        return error("the terminal of standard input has no name");
    // Opened anew: O_NONBLOCK on standard input itself would change it for the shell as well.
    FileDescriptor file(open(name.data(), O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC));
    if (!file) return file_error("open", name.data(), errno);
    return std::unique_ptr<Console>(std::make_unique<TerminalConsole>(loop, std::move(file), std::move(mode),
                                                                      name.data(), std::move(escape)));
}

}  // namespace lockstep::host
