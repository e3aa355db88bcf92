// SPDX-License-Identifier: Apache-2.0
#include "api/console_session.h"

#include <sys/socket.h>

#include <array>
#include <cerrno>

#include "api/web_socket.h"

namespace lockstep::api {

namespace {

/// Typed, while the guest's port takes nothing: who sends more than this is no person, and is cut off.
constexpr size_t kMostTyped = 256 << 10;
/// Printed, while the client reads nothing: the console's own buffer holds the rest.
constexpr size_t kMostUnsent = 256 << 10;

class ConsoleSession final : public Session {
  public:
    ConsoleSession(host::EventLoop& loop, host::FileDescriptor console)
        : loop_(loop),
          console_(std::move(console)),
          web_socket_([this](ByteSpan message) { type(message); }) {}

    void start(Outlet& outlet) override {
        outlet_ = &outlet;
        watch_ = loop_.watch(console_.get(), host::Interest::kRead, [this](host::Ready ready) {
            if (ready.writable) pass_on_typed();
            if (ready.readable) print();
            update();
        });
    }
    void receive(ByteSpan bytes) override {
        web_socket_.receive(bytes);
        update();
    }

  private:
    void type(ByteSpan message) {
        typed_.insert(typed_.end(), message.begin(), message.end());
        pass_on_typed();
        if (typed_.size() > kMostTyped) web_socket_.close();
    }
    void pass_on_typed() {
        if (typed_.empty()) return;
        ssize_t sent = ::send(console_.get(), typed_.data(), typed_.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent > 0) typed_.erase(typed_.begin(), typed_.begin() + sent);
        if (sent < 0 && errno != EAGAIN && errno != EINTR) web_socket_.close();
    }
    void print() {
        if (outlet_->unsent_bytes() > kMostUnsent) return;
        std::array<uint8_t, 16 << 10> buffer;
        ssize_t got = ::recv(console_.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
        if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
        if (got <= 0) return web_socket_.close();
        web_socket_.send(ByteSpan(buffer).first(static_cast<size_t>(got)));
    }
    /// Sends what there is to be sent, and waits for what may come.
    void update() {
        outlet_->send(web_socket_.take_output());
        if (web_socket_.is_over()) {
            watch_.reset();
            return outlet_->end();
        }
        bool is_behind = outlet_->unsent_bytes() > kMostUnsent;
        host::Interest reads = typed_.empty() ? host::Interest::kRead : host::Interest::kReadWrite;
        host::Interest only_writes = typed_.empty() ? host::Interest::kNone : host::Interest::kWrite;
        watch_.set_interest(is_behind ? only_writes : reads);
        // A client that has read again shows that by nothing that comes from it.
        if (is_behind) again_ = loop_.call_after(50 * host::kNsPerMs, [this] { update(); });
    }

    host::EventLoop& loop_;
    host::FileDescriptor console_;
    host::Watch watch_;
    host::Timer again_;
    WebSocket web_socket_;
    Bytes typed_;
    Outlet* outlet_ = nullptr;
};

}  // namespace

std::unique_ptr<Session> make_console_session(host::EventLoop& loop, host::FileDescriptor console) {
    return std::make_unique<ConsoleSession>(loop, std::move(console));
}

}  // namespace lockstep::api
