// SPDX-License-Identifier: Apache-2.0
#include "load_client/echo_load.h"

namespace lockstep::load_client {
namespace {

constexpr uint64_t kHashStart = 14695981039346656037u;

uint64_t add_to_hash(uint64_t hash, std::string_view bytes) {
    for (char c : bytes) hash = (hash ^ static_cast<uint8_t>(c)) * 1099511628211u;
    return hash;
}

}  // namespace

Result<void> EchoLoad::work(Connection& connection) {
    uint64_t hash = kHashStart;
    for (uint64_t count = 1; !stopping(); count++) {
        number_++;
        std::string request = fmt::format("{} {:016x}\n", number_, hash * number_);
        hash = add_to_hash(hash, request);
        gaps().asks();
        if (Result<void> sent = connection.write(request); !sent) return sent;
        std::string answer = TRY(connection.read_line());
        gaps().event(connection.resent());
        std::string expected = fmt::format("{} {} {:016x}", number_, count, hash);
        if (answer != expected) {
            count_wrong(1, fmt::format("answer '{}' where '{}' was due", answer, expected));
            return error("out of step with the server");
        }
        count_operation(request.size() + answer.size());
        pace();
    }
    return {};
}

}  // namespace lockstep::load_client
