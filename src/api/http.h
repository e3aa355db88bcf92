// SPDX-License-Identifier: Apache-2.0
// Requests and answers of HTTP, as far as the API has to do with them.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "control/problem.h"

namespace lockstep::api {

using control::Json;

struct Request {
    std::string method;
    std::string path;   ///< as it was sent, without what follows a question mark
    std::string query;  ///< what follows it
    std::string host, origin, content_type;
    std::string upgrade, websocket_key, websocket_version;
    std::string body = {};
    bool keeps_alive = false;
};

/// The way from a session to its client. Destroying the connection ends the session.
class Outlet {
  public:
    virtual ~Outlet() = default;
    virtual void send(std::string_view bytes) = 0;
    /// Bytes that the kernel hasn't taken yet.
    virtual size_t unsent_bytes() const = 0;
    /// Closes the connection once all is sent. May destroy the session, after the call that is running.
    virtual void end() = 0;
};

/// What goes on upon a connection once its request has been answered: events, or a console.
class Session {
  public:
    virtual ~Session() = default;
    virtual void start(Outlet& outlet) = 0;
    virtual void receive(ByteSpan bytes) = 0;
};

struct Response {
    int status = 200;
    std::string content_type = "application/json";
    std::string body = {};
    std::vector<std::pair<std::string, std::string>> headers = {};
    std::unique_ptr<Session> session = nullptr;  ///< takes the connection over; there is no body then
};

Response json_response(const Json& body, int status = 200);
/// What is wrong, as RFC 9457 has it: "application/problem+json".
Response problem_response(const Json& problem);
inline Response problem_response(std::string_view code, std::string sentence, std::string_view remedy = "") {
    return problem_response(control::problem(code, std::move(sentence), remedy));
}

/// The bytes of an answer; `keeps_alive`: another request may follow on the connection.
std::string head_of(const Response& response, bool keeps_alive);

}  // namespace lockstep::api
