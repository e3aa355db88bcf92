// SPDX-License-Identifier: Apache-2.0
// What a TCP connection's link takes for a round trip.
#pragma once

#include <cstdint>

namespace lockstep::host {

/// The shortest round trip of a segment and its acknowledgement that the kernel has seen on this connection
/// of late (tcpi_min_rtt), in ns; 0: not known.
uint64_t tcp_round_trip_ns(int socket);

}  // namespace lockstep::host
