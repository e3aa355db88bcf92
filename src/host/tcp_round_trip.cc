// SPDX-License-Identifier: Apache-2.0
#include "host/tcp_round_trip.h"

// The kernel's own header: the C library's struct tcp_info ends before the field, and one file can't include
// both.
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

namespace lockstep::host {

uint64_t tcp_round_trip_ns(int socket) {
    tcp_info info{};
    socklen_t size = sizeof info;
    constexpr uint32_t kNotKnown = ~uint32_t{0};
    bool known =
        getsockopt(socket, IPPROTO_TCP, TCP_INFO, &info, &size) == 0 && info.tcpi_min_rtt != kNotKnown;
    return known ? uint64_t{info.tcpi_min_rtt} * 1000 : 0;
}

}  // namespace lockstep::host
