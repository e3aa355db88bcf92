// SPDX-License-Identifier: Apache-2.0
// The first words on a connection: a magic number, a version and fields.
#pragma once

#include "record/fields.h"

namespace lockstep::vmm {

inline constexpr uint32_t kGreetingMagic = 0x4c535450;  // "PTSL"
inline constexpr uint16_t kGreetingVersion = 4;

template <typename T>
Bytes encode_greeting(const T& content) {
    Bytes bytes;
    ByteWriter out(bytes);
    out.fixed(kGreetingMagic);
    out.fixed(kGreetingVersion);
    record::write_fields(out, content);
    return bytes;
}

/// `what`: as in "an introduction".
template <typename T>
Result<T> decode_greeting(ByteSpan frame, const char* what) {
    ByteReader in(frame);
    if (in.fixed<uint32_t>() != kGreetingMagic)
        return error("what connected is no Lockstep host; check the addresses in protection.hosts");
    if (uint16_t version = in.fixed<uint16_t>(); version != kGreetingVersion)
        return error(
            "the other host speaks version {} of the protocol, this one version {}; install the same build "
            "on both",
            version, kGreetingVersion);
    T content;
    TRY(record::read_fields(in, content, what));
    return content;
}

}  // namespace lockstep::vmm
