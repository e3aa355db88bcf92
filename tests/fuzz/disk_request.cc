// SPDX-License-Identifier: Apache-2.0
// What a disk asked of its host, as it lies in saved states: going live issues it again.
#include "bus/output.h"
#include "record/fields.h"
#include "target.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace lockstep;
    auto read = record::decode_fields<bus::DiskRequest>(ByteSpan(data, size), "a disk request");
    if (!read.ok() || !bus::is_sound(read.value())) return 0;
    const bus::DiskRequest& request = read.value();
    bool write = request.operation == bus::DiskOperation::kWrite;
    CHECK(request.data.size() == (write ? request.size : 0), "a request of {} bytes carries {}", request.size,
          request.data.size());
    CHECK(request.offset + request.size >= request.offset);
    return 0;
}
