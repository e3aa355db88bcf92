// SPDX-License-Identifier: Apache-2.0
#include "load_client/http_load.h"

#include "content.h"

namespace lockstep::load_client {

HttpLoad::HttpLoad(const Target& target, uint16_t port, unsigned pause_us, WebFile file)
    : Load("http", target, port, pause_us),
      file_(std::move(file)),
      request_(
          fmt::format("GET {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", file_.path, target.host)) {}

uint64_t HttpLoad::wrong_bytes(std::string_view bytes, uint64_t offset) const {
    uint64_t wrong = 0;
    for (size_t i = 0; i < bytes.size(); i++) {
        uint64_t at = offset + i;
        uint8_t expected = static_cast<uint8_t>(content_word(file_.seed, at / 8) >> (at % 8 * 8));
        wrong += static_cast<uint8_t>(bytes[i]) != expected;
    }
    return wrong;
}

Result<void> HttpLoad::work(Connection& connection) {
    if (Result<void> sent = connection.write(request_); !sent) return sent;
    std::string status = TRY(connection.read_line());
    if (!status.starts_with("HTTP/1.1 200 ")) {
        count_wrong(file_.size, fmt::format("{}: {}", file_.path, status));
        return error("no download");
    }
    while (!TRY(connection.read_line()).empty()) {
    }
    uint64_t received = 0;
    for (;;) {
        std::string bytes = TRY(connection.read_some(1 << 16));
        gaps().event(connection.resent());
        if (bytes.empty()) break;
        if (uint64_t wrong = wrong_bytes(bytes, received))
            count_wrong(wrong, fmt::format("{}: {} bytes wrong after {}", file_.path, wrong, received));
        received += bytes.size();
    }
    if (received != file_.size)
        return error("{} ended after {} of {} bytes", file_.path, received, file_.size);
    count_operation(received);
    pace();
    return {};
}

}  // namespace lockstep::load_client
