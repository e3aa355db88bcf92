// SPDX-License-Identifier: Apache-2.0
#include "api/connection.h"

#include <array>
#include <cerrno>
#include <utility>

namespace lockstep::api {

Connection::Connection(host::EventLoop& loop, std::unique_ptr<host::ByteStream> stream, Caller caller,
                       Handler handler, Ended ended)
    : loop_(loop),
      stream_(std::move(stream)),
      caller_(std::move(caller)),
      handler_(std::move(handler)),
      ended_(std::move(ended)) {
    watch_ = loop_.watch(stream_->descriptor(), host::Interest::kRead, [this](host::Ready ready) {
        if (ready.writable) {
            write();
            take_requests();
        }
        if (ready.readable || stream_->may_hold_more()) read();
        update();
    });
    set_deadline();
    // What came with the end of the handshake is announced by no descriptor.
    loop_.post([this, alive = std::weak_ptr<bool>(alive_)] {
        if (alive.expired()) return;
        read();
        update();
    });
}

Connection::~Connection() = default;

void Connection::read() {
    std::array<uint8_t, 16 << 10> buffer;
    // Some pieces at a time: others want to be read, too.
    for (int pieces = 0; pieces < 4 && !finished_; ++pieces) {
        long got = stream_->read(buffer);
        if (got == -EAGAIN || got == -EINTR) return;
        if (got <= 0) return finish();
        ByteSpan bytes = ByteSpan(buffer).first(static_cast<size_t>(got));
        if (session_) {
            session_->receive(bytes);
        } else {
            reader_.add(bytes);
            take_requests();
        }
        if (!session_ && reader_.has_begun() && (answering_ || is_behind()))
            return;  // who sends on ahead waits
    }
    if (stream_->may_hold_more() && !finished_)
        loop_.post([this, alive = std::weak_ptr<bool>(alive_)] {
            if (alive.expired()) return;
            read();
            update();
        });
}

void Connection::take_requests() {
    // An answer that comes at once must not take the next request from within: there may be thousands.
    if (std::exchange(taking_, true)) return;
    while (!answering_ && !session_ && !closing_ && !is_behind()) {
        HttpReader::Outcome outcome = reader_.next();
        if (!outcome.problem.is_null()) answer(problem_response(outcome.problem), false);
        if (!outcome.request) break;
        answering_ = true;
        bool keeps_alive = outcome.request->keeps_alive;
        handler_(*outcome.request, caller_,
                 [this, keeps_alive, alive = std::weak_ptr<bool>(alive_)](Response response) {
                     if (alive.expired() || finished_) return;
                     answer(std::move(response), keeps_alive);
                     take_requests();
                     if (stream_->may_hold_more()) read();
                     update();
                 });
    }
    taking_ = false;
}

void Connection::answer(Response response, bool keeps_alive) {
    answering_ = false;
    keeps_alive = keeps_alive && !response.session;
    send(head_of(response, keeps_alive));
    send(response.body);
    if (response.session) {
        session_ = std::move(response.session);
        session_->start(*this);
        std::string rest = reader_.take_rest();
        if (!rest.empty()) session_->receive({reinterpret_cast<const uint8_t*>(rest.data()), rest.size()});
    } else if (!keeps_alive) {
        closing_ = true;
    }
}

void Connection::send(std::string_view bytes) {
    if (bytes.empty() || finished_) return;
    unsent_ += bytes;
    write();
    update();
}

void Connection::end() {
    closing_ = true;
    update();
}

void Connection::write() {
    while (!unsent_.empty() && !finished_) {
        ByteSpan part{reinterpret_cast<const uint8_t*>(unsent_.data()), unsent_.size()};
        long sent = stream_->write({&part, 1});
        if (sent == -EAGAIN || sent == -EINTR) return;
        if (sent < 0) return finish();
        unsent_.erase(0, static_cast<size_t>(sent));
        deadline_of_ = 0;  // there is progress
        if (sent == 0) return;
    }
    if (unsent_.empty()) unsent_ = std::string();  // an idle connection holds no buffer
}

void Connection::update() {
    if (finished_) return;
    if (closing_ && unsent_.empty()) return finish();
    bool reads = !answering_ && !closing_ && !is_behind();
    bool writes = !unsent_.empty();
    host::Interest with_reads = writes ? host::Interest::kReadWrite : host::Interest::kRead;
    host::Interest without = writes ? host::Interest::kWrite : host::Interest::kNone;
    watch_.set_interest(reads || session_ ? with_reads : without);
    set_deadline();
}

/// Of what is waited for now; the same goes on.
void Connection::set_deadline() {
    enum : uint8_t { kIdle = 1, kRequest, kUnread, kNone };
    uint8_t of = kIdle;
    if (!unsent_.empty())
        of = kUnread;
    else if (session_ || answering_)
        of = kNone;
    else if (reader_.has_begun())
        of = kRequest;
    if (of == deadline_of_) return;
    deadline_of_ = of;
    deadline_.reset();
    if (of == kNone) return;
    uint64_t ns = of == kIdle ? kIdleNs : of == kRequest ? kRequestNs : kUnreadNs;
    deadline_ = loop_.call_after(ns, [this] { finish(); });
}

void Connection::finish() {
    if (std::exchange(finished_, true)) return;
    watch_.reset();
    deadline_.reset();
    // Later: this object's functions are still running.
    loop_.post([this, alive = std::weak_ptr<bool>(alive_)] {
        if (alive.expired()) return;
        Ended ended = std::move(ended_);
        ended();
    });
}

}  // namespace lockstep::api
