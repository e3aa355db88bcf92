// SPDX-License-Identifier: Apache-2.0
// One client's connection: requests one after the other, each answered before the next is read; then perhaps a session.
//
// Life: hands are shaken before this (api/server.h). While it waits for a request it holds no buffers; a request that has begun
// must be whole within kRequestNs; one that waits for longer than kIdleNs is closed. An answer that the client doesn't read
// closes the connection after kUnreadNs.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "api/caller.h"
#include "api/http_reader.h"
#include "host/channel.h"

namespace lockstep::api {

class Connection final : private Outlet {
  public:
    static constexpr uint64_t kRequestNs = 5 * host::kNsPerSecond;
    static constexpr uint64_t kIdleNs = 60 * host::kNsPerSecond;
    static constexpr uint64_t kUnreadNs = 30 * host::kNsPerSecond;

    static constexpr size_t kMostUnsentBytes = 256 << 10;

    using Reply = std::function<void(Response response)>;
    /// Answers a request, at once or later; `reply` does nothing once the connection is gone.
    using Handler = std::function<void(const Request& request, const Caller& caller, Reply reply)>;
    using Ended = std::function<void()>;

    /// `ended` comes once, from the loop, and may destroy this object.
    Connection(host::EventLoop& loop, std::unique_ptr<host::ByteStream> stream, Caller caller,
               Handler handler, Ended ended);
    ~Connection() override;

    /// Waits for a request: nobody would miss it.
    bool is_idle() const { return !answering_ && !session_ && unsent_.empty() && !reader_.has_begun(); }
    bool has_session() const { return session_ != nullptr; }

  private:
    void send(std::string_view bytes) override;
    size_t unsent_bytes() const override { return unsent_.size(); }
    void end() override;

    void read();
    void take_requests();
    /// Who doesn't read his answers gets no more of them.
    bool is_behind() const { return unsent_.size() > kMostUnsentBytes; }
    void answer(Response response, bool keeps_alive);
    void write();
    void update();
    void set_deadline();
    void finish();

    host::EventLoop& loop_;
    std::unique_ptr<host::ByteStream> stream_;
    Caller caller_;
    Handler handler_;
    Ended ended_;
    HttpReader reader_;
    std::string unsent_;
    std::unique_ptr<Session> session_;
    bool taking_ = false;  ///< requests out of reader_
    bool answering_ = false;
    bool closing_ = false;   ///< once all is sent
    bool finished_ = false;  ///< ended_ is on its way
    uint8_t deadline_of_ = 0;
    host::Watch watch_;
    host::Timer deadline_;
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace lockstep::api
