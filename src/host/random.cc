// SPDX-License-Identifier: Apache-2.0
#include "host/random.h"

#include <sys/random.h>

#include <cerrno>

#include "base/check.h"

namespace lockstep::host {

void fill_random(std::span<uint8_t> out) {
    while (!out.empty()) {
        ssize_t got = getrandom(out.data(), out.size(), 0);
        CHECK(got > 0 || errno == EINTR, "getrandom failed with error {}", errno);
        if (got > 0) out = out.subspan(static_cast<size_t>(got));
    }
}

std::string random_name() {
    uint64_t number = 0;
    fill_random({reinterpret_cast<uint8_t*>(&number), sizeof number});
    return fmt::format("{:016x}", number);
}

}  // namespace lockstep::host
