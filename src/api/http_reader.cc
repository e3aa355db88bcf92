// SPDX-License-Identifier: Apache-2.0
#include "api/http_reader.h"

#include <fmt/format.h>

#include <boost/asio/buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>

namespace lockstep::api {

namespace http = boost::beast::http;

struct HttpReader::Parser {
    Parser() {
        parser.header_limit(kMostHeaderBytes);
        parser.body_limit(kMostBodyBytes);
        parser.eager(true);
    }
    http::request_parser<http::string_body> parser;
};

namespace {

std::string text_of(boost::beast::string_view text) { return {text.data(), text.size()}; }

Request request_of(http::request<http::string_body>&& message) {
    Request request;
    request.method = text_of(message.method_string());
    std::string target = text_of(message.target());
    size_t question = target.find('?');
    request.path = target.substr(0, question);
    if (question != std::string::npos) request.query = target.substr(question + 1);
    request.host = text_of(message[http::field::host]);
    request.origin = text_of(message[http::field::origin]);
    request.content_type = text_of(message[http::field::content_type]);
    request.upgrade = text_of(message[http::field::upgrade]);
    request.websocket_key = text_of(message[http::field::sec_websocket_key]);
    request.websocket_version = text_of(message[http::field::sec_websocket_version]);
    request.keeps_alive = message.keep_alive();
    request.body = std::move(message.body());
    return request;
}

Json problem_of(const boost::beast::error_code& failure) {
    if (failure == http::error::header_limit || failure == http::error::body_limit ||
        failure == http::error::buffer_overflow)
        return control::problem(control::kTooLarge,
                                fmt::format("a request has at most {} bytes in front, and {} behind",
                                            HttpReader::kMostHeaderBytes, HttpReader::kMostBodyBytes));
    return control::problem(control::kBadRequest,
                            fmt::format("this is no request of HTTP/1.1 ({})", failure.message()));
}

}  // namespace

HttpReader::HttpReader() = default;
HttpReader::~HttpReader() = default;

HttpReader::Outcome HttpReader::next() {
    if (is_broken_) return {};
    while (!input_.empty()) {
        // An idle connection keeps no parser.
        if (!parser_) parser_ = std::make_unique<Parser>();
        has_begun_ = true;
        boost::beast::error_code failure;
        size_t taken = parser_->parser.put(boost::asio::buffer(input_), failure);
        input_.erase(0, taken);
        if (failure == http::error::need_more) {
            if (taken == 0) return {};
            continue;
        }
        if (failure) {
            is_broken_ = true;
            input_.clear();
            return {.problem = problem_of(failure)};
        }
        if (parser_->parser.is_done()) {
            Outcome outcome{.request = request_of(parser_->parser.release())};
            parser_.reset();
            has_begun_ = false;
            return outcome;
        }
        if (taken == 0) return {};
    }
    return {};
}

}  // namespace lockstep::api
