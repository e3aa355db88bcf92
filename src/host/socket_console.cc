// SPDX-License-Identifier: Apache-2.0
// Consoles on a UNIX socket, and the program's end of such a socket.
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <map>
#include <optional>

#include "base/log.h"
#include "host/acceptor.h"
#include "host/console.h"
#include "host/terminal_mode.h"

namespace lockstep::host {

namespace {

constexpr size_t kMostInput = 4096;
constexpr size_t kMostUnsent = 4 * Console::kBacklog;  // of one client, before it is disconnected

class SocketConsole final : public Console {
  public:
    SocketConsole(EventLoop& loop, FileDescriptor socket, std::string path)
        : loop_(loop),
          path_(std::move(path)),
          acceptor_(loop, std::move(socket),
                    [this](FileDescriptor connection) { accept(std::move(connection)); }) {}
    ~SocketConsole() override { unlink(path_.c_str()); }

    void write(ByteSpan output) override {
        recent_.insert(recent_.end(), output.begin(), output.end());
        // Twice the bound is let grow, so that the bytes aren't moved at every call.
        if (recent_.size() > 2 * kBacklog)
            recent_.erase(recent_.begin(), recent_.end() - static_cast<ptrdiff_t>(kBacklog));
        for (auto at = clients_.begin(); at != clients_.end();) {
            bool stays = send(at->second, output);
            at = stays ? std::next(at) : clients_.erase(at);
        }
    }
    void set_receiver(Receiver receiver) override {
        receiver_ = std::move(receiver);
        update_all();
    }
    void pause_input() override {
        paused_ = true;
        update_all();
    }
    void resume_input() override {
        paused_ = false;
        update_all();
    }
    std::string place() const override { return path_; }

  private:
    struct Client {
        FileDescriptor socket;
        Bytes unsent;
        Watch watch;
    };

    void accept(FileDescriptor connection) {
        uint64_t id = next_id_++;
        Client& client = clients_[id];
        client.socket = std::move(connection);
        client.watch =
            loop_.watch(client.socket.get(), Interest::kNone, [this, id](Ready r) { ready(id, r); });
        size_t size = std::min(recent_.size(), kBacklog);
        if (!send(client, ByteSpan(recent_).last(size))) clients_.erase(id);
    }

    /// False: the client is to be disconnected.
    bool send(Client& client, ByteSpan output) {
        client.unsent.insert(client.unsent.end(), output.begin(), output.end());
        ssize_t sent = ::send(client.socket.get(), client.unsent.data(), client.unsent.size(), MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN && errno != EINTR) return false;
        if (sent > 0) client.unsent.erase(client.unsent.begin(), client.unsent.begin() + sent);
        if (client.unsent.size() > kMostUnsent) {
            log_warning("console {}: a client doesn't read and is disconnected", path_);
            return false;
        }
        update_interest(client);
        return true;
    }

    void ready(uint64_t id, Ready ready) {
        auto found = clients_.find(id);
        if (found == clients_.end()) return;
        if (ready.writable && !send(found->second, {})) return void(clients_.erase(found));
        if (ready.readable && receiver_ && !paused_) read(found);
    }

    void read(std::map<uint64_t, Client>::iterator client) {
        Bytes input(kMostInput);
        ssize_t size = recv(client->second.socket.get(), input.data(), input.size(), 0);
        if (size < 0 && (errno == EAGAIN || errno == EINTR)) return;
        if (size <= 0) return void(clients_.erase(client));
        input.resize(static_cast<size_t>(size));
        Receiver receiver = receiver_;
        receiver(std::move(input));
    }

    void update_interest(Client& client) {
        bool reads = receiver_ && !paused_, writes = !client.unsent.empty();
        Interest with_reads = writes ? Interest::kReadWrite : Interest::kRead;
        client.watch.set_interest(reads ? with_reads : (writes ? Interest::kWrite : Interest::kNone));
    }
    void update_all() {
        for (auto& [id, client] : clients_) update_interest(client);
    }

    EventLoop& loop_;
    std::string path_;
    Bytes recent_;
    uint64_t next_id_ = 1;
    std::map<uint64_t, Client> clients_;
    Receiver receiver_;
    bool paused_ = false;
    Acceptor acceptor_;
};

bool write_all(int fd, ByteSpan bytes) {
    while (!bytes.empty()) {
        ssize_t written = ::write(fd, bytes.data(), bytes.size());
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) return false;
        bytes = bytes.subspan(static_cast<size_t>(written));
    }
    return true;
}

/// Moves what is there from one descriptor to another; false at the end of either.
bool forward(int from, int to, bool watch_for_escape) {
    Bytes bytes(kMostInput);
    ssize_t size = ::read(from, bytes.data(), bytes.size());
    if (size < 0 && errno == EINTR) return true;
    if (size <= 0) return false;
    bytes.resize(static_cast<size_t>(size));
    auto escape = std::find(bytes.begin(), bytes.end(), kEscapeByte);
    bool leave = watch_for_escape && escape != bytes.end();
    if (leave) bytes.erase(escape, bytes.end());
    return write_all(to, bytes) && !leave;
}

}  // namespace

Result<std::unique_ptr<Console>> create_socket_console(EventLoop& loop, const std::string& path) {
    FileDescriptor socket = TRY(listen_at_path(path));
    return std::unique_ptr<Console>(std::make_unique<SocketConsole>(loop, std::move(socket), path));
}

Result<void> attach_terminal(const std::string& path) {
    FileDescriptor console = TRY(connect_to_path(path));
    std::optional<RawTerminal> mode;
    bool terminal = isatty(STDIN_FILENO);
    if (terminal) mode.emplace(TRY(RawTerminal::create(STDIN_FILENO)));
    std::array<pollfd, 2> waiting{{{.fd = console.get(), .events = POLLIN, .revents = 0},
                                   {.fd = STDIN_FILENO, .events = POLLIN, .revents = 0}}};
    for (;;) {
        if (poll(waiting.data(), waiting.size(), -1) < 0 && errno != EINTR)
            return error("cannot wait for the console {}; try again", path);
        if (waiting[0].revents && !forward(console.get(), STDOUT_FILENO, false)) return {};
        if (waiting[1].revents && !forward(STDIN_FILENO, console.get(), terminal)) {
            if (terminal) return {};
            waiting[1].fd = -1;  // no more input; the output goes on
        }
    }
}

}  // namespace lockstep::host
