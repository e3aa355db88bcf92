// SPDX-License-Identifier: Apache-2.0
// Batches of packets, as NetworkReceive lays them out, without a copy of each packet.
#pragma once

#include <span>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace lockstep::record {

/// The packets of an encoded NetworkReceive; they live as long as `payload`. Fails where it is damaged.
Result<std::vector<ByteSpan>> packet_views(ByteSpan payload);

/// A NetworkReceive of these packets, encoded.
Bytes encode_packets(std::span<const ByteSpan> packets);

}  // namespace lockstep::record
