// SPDX-License-Identifier: Apache-2.0
// What leaves the machine, in order, on the primary and on the backup alike: an alternative for each kind.
//
//     device --OutputSink--> driver: kOutput entry --> gate (waits for the backup) --> disk, network, ...
//
// Outputs stay in the process: they have no encoding but where they are part of a device's saved state.
#pragma once

#include <cstdint>
#include <variant>
#include <vector>

#include "base/bytes.h"

namespace lockstep::bus {

/// Packets that a network device sends, each with its virtio header before it, in one string of bytes.
struct Packets {
    Bytes bytes;
    std::vector<size_t> ends;  ///< of each packet in `bytes`

    void add(ByteSpan packet) {
        bytes.insert(bytes.end(), packet.begin(), packet.end());
        end_packet();
    }
    /// What was appended to `bytes` since the last call is a packet.
    void end_packet() { ends.push_back(bytes.size()); }
    /// They live as long as this object is the same.
    std::vector<ByteSpan> views() const {
        std::vector<ByteSpan> packets;
        packets.reserve(ends.size());
        size_t start = 0;
        for (size_t end : ends) {
            packets.push_back(ByteSpan(bytes).subspan(start, end - start));
            start = end;
        }
        return packets;
    }
    bool operator==(const Packets&) const = default;
};

enum class DiskOperation : uint8_t { kRead = 1, kWrite = 2, kFlush = 3 };

/// What a disk asks of the host; the answer is a kDiskCompletion entry with the same number. Requests may run
/// side by side and end in any order, but of two requests that conflict() the earlier must have ended before
/// the later starts: the disk's contents then don't depend on the host's timing. A flush ends when every
/// write that ended before the flush was made is on stable storage.
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

/// Whether a request that was read from a saved state is one that a disk makes.
inline bool is_sound(const DiskRequest& request) {
    bool write = request.operation == DiskOperation::kWrite;
    return request.operation >= DiskOperation::kRead && request.operation <= DiskOperation::kFlush &&
           request.offset + request.size >= request.offset &&
           request.data.size() == (write ? request.size : 0);
}

/// Whether two requests must keep their order: they touch the same bytes, and one of them writes.
inline bool conflict(const DiskRequest& a, const DiskRequest& b) {
    if (a.operation != DiskOperation::kWrite && b.operation != DiskOperation::kWrite) return false;
    return a.offset < b.offset + b.size && b.offset < a.offset + a.size;
}

/// Bytes that a console or serial port prints.
struct ConsoleBytes {
    Bytes bytes;
    bool operator==(const ConsoleBytes&) const = default;
};

/// The guest wants random bytes; the answer is a kRandomBytes entry with the same number.
struct RandomRequest {
    uint64_t number = 0;
    uint32_t size = 0;  ///< bytes wanted; fewer may come back
    template <typename Codec>
    void fields(Codec& codec) {
        codec(number, size);
    }
    bool operator==(const RandomRequest&) const = default;
};

/// A network driver starts, and takes these of the packets that it receives.
struct NetworkOffloads {
    bool checksum = false;  ///< packets whose checksum is still to be completed
    bool tcp4 = false;      ///< large packets of TCP over IPv4
    bool tcp6 = false;
    bool ecn = false;  ///< large ones with congestion marks
    bool operator==(const NetworkOffloads&) const = default;
};

struct Output {
    uint16_t device = 0;
    std::variant<Packets, DiskRequest, ConsoleBytes, RandomRequest, NetworkOffloads> what;

    /// The output as one of this kind; null: it is of another.
    template <typename Kind>
    const Kind* as() const {
        return std::get_if<Kind>(&what);
    }
    bool operator==(const Output&) const = default;
};

/// Whether an output can be noticed outside the VM, so that it must wait for the backup.
inline bool changes_outside(const Output& output) {
    if (const auto* request = output.as<DiskRequest>()) return request->operation == DiskOperation::kWrite;
    return !output.as<RandomRequest>();
}

inline bool is_disk_read(const Output& output) {
    const auto* request = output.as<DiskRequest>();
    return request && request->operation == DiskOperation::kRead;
}

class OutputSink {
  public:
    virtual ~OutputSink() = default;
    virtual void output(Output output) = 0;
};

}  // namespace lockstep::bus
