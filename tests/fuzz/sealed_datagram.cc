// SPDX-License-Identifier: Apache-2.0
// Datagrams, which anybody can send: none that the other side hasn't made is taken, and each of its own once.
#include "host/sealed_datagrams.h"
#include "target.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace lockstep;
    host::DatagramKey key{};
    host::DatagramSealer sealer(key);
    host::DatagramOpener opener(key);
    ByteSpan input(data, size);
    CHECK(!opener.open(input), "a forged datagram was taken");
    auto words = size > 0 && data[0] % 2 ? host::Words::kLast : host::Words::kRunning;
    Bytes sealed = sealer.seal(input, words);
    // The input says which byte is changed, and how.
    Bytes changed = sealed;
    size_t at = size > 1 ? data[1] * (size + 1) % changed.size() : 0;
    uint8_t by = size > 2 ? data[2] : 1;
    changed[at] ^= by ? by : 1;
    CHECK(!opener.open(changed), "a datagram that was changed was taken");
    std::optional<Bytes> opened = opener.open(sealed);
    CHECK(opened && *opened == Bytes(input.begin(), input.end()), "a datagram doesn't say what it said");
    CHECK(!opener.open(sealed), "a datagram was taken twice");
    return 0;
}
