// SPDX-License-Identifier: Apache-2.0
// The head and the tail of an image file that an operator names: what it is, or nothing that is known.
#include <algorithm>

#include "host/disk_format.h"
#include "target.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace lockstep;
    ByteSpan input(data, size);
    ByteSpan head = input.first(std::min(size, host::kHeadBytes));
    ByteSpan tail = input.last(std::min(size, host::kTailBytes));
    host::ImageFormat format = host::recognise_image(head, tail);
    CHECK(format.name.empty() == format.remedy.empty(), "{} has no remedy", format.name);
    return 0;
}
