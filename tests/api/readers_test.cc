// SPDX-License-Identifier: Apache-2.0
// The readers of what clients send: requests and WebSocket messages, in pieces of any size.
#include <gtest/gtest.h>

#include "api/http_reader.h"
#include "api/web_socket.h"

namespace lockstep::api {
namespace {

ByteSpan bytes_of(std::string_view text) {
    return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

constexpr std::string_view kPost =
    "POST /v1/vms/web/actions/protect?x=1 HTTP/1.1\r\nHost: a:1\r\nOrigin: https://a:1\r\n"
    "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";

TEST(HttpReader, ReadsARequestInPiecesOfAnySize) {
    for (size_t piece = 1; piece <= kPost.size(); ++piece) {
        HttpReader reader;
        std::optional<Request> request;
        for (size_t at = 0; at < kPost.size(); at += piece) {
            EXPECT_FALSE(request);
            reader.add(bytes_of(kPost.substr(at, piece)));
            HttpReader::Outcome outcome = reader.next();
            ASSERT_TRUE(outcome.problem.is_null()) << outcome.problem;
            request = std::move(outcome.request);
        }
        ASSERT_TRUE(request) << piece;
        EXPECT_EQ(request->method, "POST");
        EXPECT_EQ(request->path, "/v1/vms/web/actions/protect");
        EXPECT_EQ(request->query, "x=1");
        EXPECT_EQ(request->host, "a:1");
        EXPECT_EQ(request->origin, "https://a:1");
        EXPECT_EQ(request->content_type, "application/json");
        EXPECT_EQ(request->body, "{}");
        EXPECT_TRUE(request->keeps_alive);
        EXPECT_FALSE(reader.has_begun());
    }
}

TEST(HttpReader, ReadsRequestsThatCameTogether) {
    HttpReader reader;
    reader.add(bytes_of(std::string(kPost) + "GET / HTTP/1.1\r\nConnection: close\r\n\r\nrest"));
    EXPECT_EQ(reader.next().request->method, "POST");
    std::optional<Request> second = reader.next().request;
    ASSERT_TRUE(second);
    EXPECT_EQ(second->path, "/");
    EXPECT_FALSE(second->keeps_alive);
    EXPECT_TRUE(reader.has_begun());
    EXPECT_EQ(reader.take_rest(), "rest");
}

TEST(HttpReader, RefusesWhatIsTooLongAndWhatIsNone) {
    struct Case {
        std::string bytes;
        std::string_view code;
    };
    std::string much(HttpReader::kMostHeaderBytes + 10, 'x');
    for (const Case& one :
         {Case{"GET /" + much, control::kTooLarge},
          Case{"GET / HTTP/1.1\r\nX: " + much + "\r\n\r\n", control::kTooLarge},
          Case{"POST / HTTP/1.1\r\nContent-Length: 9999999\r\n\r\n", control::kTooLarge},
          Case{"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n", control::kTooLarge},
          Case{"\x16\x03\x01 a handshake\r\n\r\n", control::kBadRequest},
          Case{"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", control::kBadRequest}}) {
        HttpReader reader;
        reader.add(bytes_of(one.bytes));
        HttpReader::Outcome outcome = reader.next();
        EXPECT_FALSE(outcome.request);
        EXPECT_EQ(outcome.problem.value("code", ""), one.code) << one.bytes.substr(0, 60);
        EXPECT_TRUE(reader.next().problem.is_null()) << "it is said once";
    }
}

TEST(HttpReader, HoldsNoMoreThanItsBounds) {
    HttpReader reader;
    std::string line = "X: " + std::string(1000, 'x') + "\r\n";
    reader.add(bytes_of("GET / HTTP/1.1\r\n"));
    size_t given = 0;
    for (; reader.next().problem.is_null() && given < (1 << 20); given += line.size())
        reader.add(bytes_of(line));
    EXPECT_LE(given, 2 * HttpReader::kMostHeaderBytes);
}

/// A client's frame, masked as the standard demands.
std::string frame(uint8_t first, std::string_view content, bool masked = true) {
    std::string text{static_cast<char>(first)};
    text += static_cast<char>((masked ? 0x80 : 0) | content.size());
    const char mask[] = {1, 2, 3, 4};
    if (masked) text.append(mask, 4);
    for (size_t i = 0; i < content.size(); ++i)
        text += masked ? static_cast<char>(content[i] ^ mask[i % 4]) : content[i];
    return text;
}

struct Heard {
    std::string all;
    WebSocket socket{[this](ByteSpan message) { all.append(message.begin(), message.end()); }};
};

TEST(WebSocket, ReadsMessagesInPieces) {
    std::string bytes = frame(0x82, "hello ") + frame(0x01, "wor") + frame(0x80, "ld");
    for (size_t piece = 1; piece <= bytes.size(); ++piece) {
        Heard heard;
        for (size_t at = 0; at < bytes.size(); at += piece)
            heard.socket.receive(bytes_of(bytes.substr(at, piece)));
        EXPECT_EQ(heard.all, "hello world") << piece;
        EXPECT_FALSE(heard.socket.is_over());
    }
}

TEST(WebSocket, AnswersPingsAndGoodbyes) {
    Heard heard;
    heard.socket.receive(bytes_of(frame(0x89, "are you there")));
    std::string pong = heard.socket.take_output();
    EXPECT_EQ(static_cast<uint8_t>(pong[0]), 0x8a);
    EXPECT_NE(pong.find("are you there"), std::string::npos);
    heard.socket.receive(bytes_of(frame(0x88, "")));
    EXPECT_TRUE(heard.socket.is_over());
    EXPECT_EQ(static_cast<uint8_t>(heard.socket.take_output()[0]), 0x88);
}

TEST(WebSocket, SendsBytesUnmasked) {
    Heard heard;
    heard.socket.send(bytes_of("login: "));
    EXPECT_EQ(heard.socket.take_output(), std::string("\x82\x07login: "));
}

TEST(WebSocket, RefusesWhatAClientMayNotSend) {
    // Its length is judged with its first byte.
    std::string too_long("\x82\xff\x00\x00\x00\x00\x7f\xff\xff\xff\x01\x02\x03\x04x", 15);
    for (const std::string& bytes : {frame(0x82, "x", false), frame(0xf2, "reserved"), too_long}) {
        Heard heard;
        heard.socket.receive(bytes_of(bytes));
        EXPECT_TRUE(heard.socket.is_over()) << testing::PrintToString(bytes);
        EXPECT_EQ(heard.all, "");
    }
}

TEST(WebSocket, ProvesThatItReadTheKey) {
    // The example of RFC 6455.
    EXPECT_EQ(web_socket_answer("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

}  // namespace
}  // namespace lockstep::api
