// SPDX-License-Identifier: Apache-2.0
// What clients of the API send: requests, and messages of a WebSocket, whole and in pieces.
#include "api/http_reader.h"
#include "api/web_socket.h"
#include "target.h"

namespace {

using namespace lockstep;

/// What was read, as text: it must be the same however the bytes came.
std::string read_requests(ByteSpan input, size_t piece) {
    api::HttpReader reader;
    std::string heard;
    for (size_t at = 0; at < input.size(); at += piece) {
        reader.add(input.subspan(at, std::min(piece, input.size() - at)));
        for (;;) {
            api::HttpReader::Outcome outcome = reader.next();
            if (!outcome.problem.is_null()) return heard + "problem";
            if (!outcome.request) break;
            const api::Request& request = *outcome.request;
            CHECK(request.body.size() <= api::HttpReader::kMostBodyBytes, "a body beyond its bound");
            heard += request.method + " " + request.path + "?" + request.query + " " + request.body + "\n";
        }
    }
    return heard;
}

std::string read_messages(ByteSpan input, size_t piece) {
    std::string heard;
    api::WebSocket socket([&heard](ByteSpan message) {
        CHECK(message.size() <= api::WebSocket::kMostMessageBytes, "a message beyond its bound");
        heard.append(message.begin(), message.end());
        heard += '\n';
    });
    for (size_t at = 0; at < input.size(); at += piece)
        socket.receive(input.subspan(at, std::min(piece, input.size() - at)));
    return heard;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    ByteSpan input(data, size);
    (void)read_requests(input, size + 1);
    (void)read_requests(input, 7);
    CHECK(read_messages(input, size + 1) == read_messages(input, 3),
          "pieces make a difference to a WebSocket");
    (void)api::web_socket_answer(std::string(input.begin(), input.end()));
    return 0;
}
