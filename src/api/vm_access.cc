// SPDX-License-Identifier: Apache-2.0
#include "api/vm_access.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "host/acceptor.h"
#include "host/runtime_folder.h"

namespace lockstep::api {

namespace {

constexpr size_t kLongestAnswer = 1 << 20;

Json no_answer(const std::string& sentence) {
    return control::problem(control::kNoAnswer, sentence,
                            "see whether the VM's process is stopped, or its host overloaded");
}

}  // namespace

/// One request to one VM, and its answer.
class VmAccess::Exchange {
  public:
    Exchange(VmAccess& access, std::string vm, const Json& request, Answered answered)
        : access_(access),
          vm_(std::move(vm)),
          unsent_(request.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n"),
          answered_(std::move(answered)) {}

    void start() {
        std::string path = host::RuntimeFolder::control_socket_of(access_.runtime_base_, vm_);
        Result<host::FileDescriptor> connected = host::connect_to_path_at_once(path);
        if (!connected) return fail(connected.error().message());
        socket_ = connected.take();
        timeout_ = access_.loop_.call_after(
            kTimeoutNs, [this] { fail(fmt::format("VM {} doesn't answer in time", vm_)); });
        watch_ = access_.loop_.watch(socket_.get(), host::Interest::kReadWrite,
                                     [this](host::Ready ready) { go_on(ready); });
    }
    Answered take_receiver() { return std::move(answered_); }

  private:
    void go_on(host::Ready ready) {
        if (ready.writable && !unsent_.empty()) {
            ssize_t sent = ::send(socket_.get(), unsent_.data(), unsent_.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
            if (sent < 0 && errno != EAGAIN && errno != EINTR) return lost();
            if (sent > 0) unsent_.erase(0, static_cast<size_t>(sent));
        }
        if (unsent_.empty()) watch_.set_interest(host::Interest::kRead);
        if (ready.readable) read();
    }
    void read() {
        char buffer[16 << 10];
        ssize_t got = ::recv(socket_.get(), buffer, sizeof buffer, MSG_DONTWAIT);
        if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
        if (got <= 0) return lost();
        answer_.append(buffer, static_cast<size_t>(got));
        size_t end = answer_.find('\n');
        if (end == std::string::npos && answer_.size() <= kLongestAnswer) return;
        Json content = Json::parse(answer_.substr(0, end), nullptr, false);
        if (!content.is_object())
            return fail(fmt::format("what runs as VM {} doesn't speak Lockstep's control protocol", vm_));
        finish(content);
    }
    void lost() { fail(fmt::format("VM {} closed the connection without an answer; look at its log", vm_)); }
    void fail(const std::string& sentence) { finish(no_answer(sentence)); }
    void finish(const Json& answer) {
        watch_.reset();
        timeout_.reset();
        access_.end(this, answer);
    }

    VmAccess& access_;
    std::string vm_;
    std::string unsent_, answer_;
    Answered answered_;
    host::FileDescriptor socket_;
    host::Watch watch_;
    host::Timer timeout_;
};

VmAccess::VmAccess(host::EventLoop& loop, std::string runtime_base)
    : loop_(loop), runtime_base_(std::move(runtime_base)) {}
VmAccess::~VmAccess() = default;

std::vector<std::string> VmAccess::names() const { return host::RuntimeFolder::running(runtime_base_); }

bool VmAccess::runs(const std::string& vm) const {
    std::vector<std::string> running = names();
    return std::ranges::find(running, vm) != running.end();
}

void VmAccess::ask(const std::string& vm, const Json& request, Answered answered) {
    exchanges_.push_back(std::make_unique<Exchange>(*this, vm, request, std::move(answered)));
    exchanges_.back()->start();
}

void VmAccess::end(Exchange* exchange, const Json& answer) {
    // Later: who asked may be in the midst of asking.
    loop_.post([this, exchange, answer, alive = std::weak_ptr<bool>(alive_)] {
        if (alive.expired()) return;
        auto found = std::ranges::find_if(exchanges_, [&](const auto& one) { return one.get() == exchange; });
        if (found == exchanges_.end()) return;
        Answered answered = exchange->take_receiver();
        exchanges_.erase(found);
        answered(answer);
    });
}

void VmAccess::ask_all(std::function<void(const std::vector<Json>&)> answered) {
    struct Round {
        std::vector<Json> states;
        size_t missing;
        std::function<void(const std::vector<Json>&)> answered;
    };
    std::vector<std::string> all = names();
    auto round =
        std::make_shared<Round>(Round{std::vector<Json>(all.size()), all.size(), std::move(answered)});
    if (all.empty())
        return loop_.post([round, alive = std::weak_ptr<bool>(alive_)] {
            if (!alive.expired()) round->answered(round->states);
        });
    for (size_t i = 0; i < all.size(); ++i)
        ask(all[i], {{"action", "status"}}, [round, i, name = all[i]](const Json& answer) {
            round->states[i] = answer;
            round->states[i]["name"] = name;
            if (--round->missing == 0) round->answered(round->states);
        });
}

}  // namespace lockstep::api
