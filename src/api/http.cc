// SPDX-License-Identifier: Apache-2.0
#include "api/http.h"

#include <fmt/format.h>

namespace lockstep::api {

namespace {

std::string_view reason_of(int status) {
    switch (status) {
        case 101:
            return "Switching Protocols";
        case 200:
            return "OK";
        case 400:
            return "Bad Request";
        case 403:
            return "Forbidden";
        case 404:
            return "Not Found";
        case 405:
            return "Method Not Allowed";
        case 409:
            return "Conflict";
        case 413:
            return "Content Too Large";
        case 422:
            return "Unprocessable Content";
        case 503:
            return "Service Unavailable";
        case 504:
            return "Gateway Timeout";
        default:
            return "";
    }
}

/// For every answer: it is of this moment, nothing else may be made of it than it says, and a page takes nothing from elsewhere.
constexpr std::string_view kCommonHeaders =
    "Cache-Control: no-store\r\n"
    "X-Content-Type-Options: nosniff\r\n"
    "Referrer-Policy: no-referrer\r\n"
    "Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n";

std::string text_of(const Json& content) {
    return content.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace

Response json_response(const Json& body, int status) { return {.status = status, .body = text_of(body)}; }

Response problem_response(const Json& problem) {
    const control::ProblemKind& kind = control::problem_kind_of(problem);
    Json body = {{"type", fmt::format("/v1/problems#{}", kind.code)},
                 {"title", kind.meaning},
                 {"status", kind.http_status},
                 {"code", kind.code},
                 {"detail", problem.value("error", "")}};
    if (problem.contains("remedy")) body["remedy"] = problem["remedy"];
    return {.status = kind.http_status, .content_type = "application/problem+json", .body = text_of(body)};
}

std::string head_of(const Response& response, bool keeps_alive) {
    std::string head =
        fmt::format("HTTP/1.1 {} {}\r\n{}", response.status, reason_of(response.status), kCommonHeaders);
    if (response.status != 101) head += fmt::format("Content-Type: {}\r\n", response.content_type);
    for (const auto& [name, value] : response.headers) head += fmt::format("{}: {}\r\n", name, value);
    if (!response.session) head += fmt::format("Content-Length: {}\r\n", response.body.size());
    if (response.status != 101) head += keeps_alive ? "" : "Connection: close\r\n";
    return head + "\r\n";
}

}  // namespace lockstep::api
