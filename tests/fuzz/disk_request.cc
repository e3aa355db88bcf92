// SPDX-License-Identifier: Apache-2.0
// What a disk asked of its host, as it lies in saved states: going live issues it again.
#include "devices/virtio/block/request.h"
#include "target.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace lockstep;
    Result<devices::virtio::DiskRequest> read = devices::virtio::decode_disk_request(ByteSpan(data, size));
    if (!read.ok()) return 0;
    const devices::virtio::DiskRequest& request = read.value();
    bool write = request.operation == devices::virtio::DiskOperation::kWrite;
    CHECK(request.data.size() == (write ? request.size : 0), "a request of {} bytes carries {}", request.size,
          request.data.size());
    CHECK(devices::virtio::operation_of(ByteSpan(data, size)) == request.operation);
    return 0;
}
