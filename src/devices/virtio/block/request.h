// SPDX-License-Identifier: Apache-2.0
// What a disk asks of the host: the payload of a kDiskRequest output.
//
// The answer is a kDiskCompletion entry with the same number. Requests may run side by side and end in any
// order, but of two requests that conflict() the earlier must have ended before the later starts: the disk's
// contents then don't depend on the host's timing. A flush ends when every write that ended before the flush
// was made is on stable storage.
#pragma once

#include <cstdint>

#include "base/bytes.h"
#include "base/result.h"
#include "record/fields.h"

namespace lockstep::devices::virtio {

enum class DiskOperation : uint8_t { kRead = 1, kWrite = 2, kFlush = 3 };

struct DiskRequest {
    uint64_t number = 0;
    DiskOperation operation = DiskOperation::kRead;
    uint64_t offset = 0;  ///< bytes; a multiple of 512, as is the size
    uint64_t size = 0;    ///< bytes; 0 for a flush
    Bytes data;           ///< what to write

    template <typename Codec>
    void fields(Codec& codec) {
        codec(number, operation, offset, size, data);
    }
    bool operator==(const DiskRequest&) const = default;
};

/// Whether two requests must keep their order: they touch the same bytes, and one of them writes.
inline bool conflict(const DiskRequest& a, const DiskRequest& b) {
    if (a.operation != DiskOperation::kWrite && b.operation != DiskOperation::kWrite) return false;
    return a.offset < b.offset + b.size && b.offset < a.offset + a.size;
}

/// What a request is, without a look at the rest: for one that a disk made.
inline DiskOperation operation_of(ByteSpan payload) {
    ByteReader in(payload);
    in.varint();  // the number
    return static_cast<DiskOperation>(in.fixed<uint8_t>());
}

inline Result<DiskRequest> decode_disk_request(ByteSpan payload) {
    DiskRequest request = TRY(record::decode_fields<DiskRequest>(payload, "a disk request"));
    bool write = request.operation == DiskOperation::kWrite;
    if (request.operation < DiskOperation::kRead || request.operation > DiskOperation::kFlush ||
        request.data.size() != (write ? request.size : 0))
        return error("a disk request is damaged");
    return request;
}

}  // namespace lockstep::devices::virtio
