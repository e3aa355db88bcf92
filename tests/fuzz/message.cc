// SPDX-License-Identifier: Apache-2.0
// Messages of the other side: as they come, and with the header made good, which a checksum hides from the fuzzer.
#include "replica/message.h"

#include <optional>

#include "base/hash.h"
#include "target.h"

namespace lockstep::replica {
namespace {

/// What decodes goes round: encoded again, it says the same.
void judge(ByteSpan bytes) {
    Result<Envelope> decoded = decode(bytes);
    if (!decoded) return;
    std::string said = describe(decoded.value().message);
    Bytes again = encode(decoded.value().header, decoded.value().message);
    Result<Envelope> twice = decode(again);
    CHECK(twice.ok(), "{} is refused once it is encoded again", said);
    CHECK(twice.value().message == decoded.value().message, "{} changes when it is encoded", said);
}

/// The bytes with size, version and checksum as they must be.
Bytes made_good(ByteSpan bytes) {
    Bytes good(bytes.begin(), bytes.end());
    uint32_t size = static_cast<uint32_t>(good.size());
    std::memcpy(&good[8], &size, sizeof size);
    std::memcpy(&good[12], &kProtocolVersion, sizeof kProtocolVersion);
    good[15] = 0;
    uint64_t checksum = hash64(ByteSpan(good).subspan(sizeof checksum));
    std::memcpy(&good[0], &checksum, sizeof checksum);
    return good;
}

}  // namespace
}  // namespace lockstep::replica

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace lockstep;
    ByteSpan input(data, size);
    replica::judge(input);
    if (size >= replica::kHeaderBytes) replica::judge(replica::made_good(input));
    return 0;
}
