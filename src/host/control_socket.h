// SPDX-License-Identifier: Apache-2.0
// The control socket: requests and answers as lines of JSON over a UNIX socket.
//
// A client sends one JSON object a line and gets one JSON object a line back, in the order of its requests.
// What isn't JSON is answered by {"error": "..."}.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <unordered_map>

#include "base/result.h"
#include "host/acceptor.h"
#include "host/event_loop.h"
#include "host/file_descriptor.h"

namespace lockstep::host {

using Json = nlohmann::json;

class ControlServer {
  public:
    /// Sends the answer; to be called once, at any later time, on the loop's thread.
    using Reply = std::function<void(const Json& answer)>;
    using Handler = std::function<void(const Json& request, Reply reply)>;
    static constexpr size_t kLongestLine = 1 << 20;

    /// Listens at `path`, for the owner alone. A socket left behind by a dead process is replaced.
    static Result<std::unique_ptr<ControlServer>> create(EventLoop& loop, const std::string& path,
                                                         Handler handler);
    ~ControlServer();

  private:
    struct Client;

    ControlServer(EventLoop& loop, FileDescriptor socket, std::string path, Handler handler);
    void accept(FileDescriptor connection);
    void receive(uint64_t id);
    void take_line(uint64_t id);
    void answer(uint64_t id, const Json& content);
    void transmit(uint64_t id);

    EventLoop& loop_;
    std::string path_;
    Handler handler_;
    uint64_t next_id_ = 1;
    std::unordered_map<uint64_t, std::shared_ptr<Client>> clients_;
    Acceptor acceptor_;
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);  // replies outlive the server
};

/// Sends one request and waits for its answer, whatever that says. For the command line: it blocks.
Result<Json> control_exchange(const std::string& path, const Json& request,
                              uint64_t timeout_ns = 30 * kNsPerSecond);
/// The same; an answer with "error" becomes an Error of that sentence.
Result<Json> control_request(const std::string& path, const Json& request,
                             uint64_t timeout_ns = 30 * kNsPerSecond);

}  // namespace lockstep::host
