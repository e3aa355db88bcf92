// SPDX-License-Identifier: Apache-2.0
// The payload of every log entry: what its fields are. Numbers are varints, byte strings carry their length
// (fields.h). The structs below are the format: changing one makes another version of the log.
//
//     Bytes payload = encode(DiskCompletion{.request = 7});
//     Result<DiskCompletion> completion = decode<DiskCompletion>(entry);
#pragma once

#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "record/entry.h"
#include "record/fields.h"

namespace lockstep::record {

/// kNetworkReceive: a batch of packets, in order of arrival. The device raises one interrupt for it. Each is
/// a virtio header (Virtio 1.2, 5.1.6; 12 bytes) and an Ethernet frame without its check sequence.
/// record/packets.h reads it without copies.
struct NetworkReceive {
    static constexpr EntryKind kKind = EntryKind::kNetworkReceive;
    std::vector<Bytes> packets;
    template <typename Codec>
    void fields(Codec& codec) {
        codec(packets);
    }
    bool operator==(const NetworkReceive&) const = default;
};

enum class DiskStatus : uint8_t {
    kOk = 0,
    kIoError = 1,      ///< the guest sees an I/O error
    kUnsupported = 2,  ///< the backend doesn't know the operation
};

/// kDiskCompletion: the request with this number has ended. `data`: what was read, all of it, when status is
/// kOk and the request was a read; else empty.
struct DiskCompletion {
    static constexpr EntryKind kKind = EntryKind::kDiskCompletion;
    uint64_t request = 0;
    DiskStatus status = DiskStatus::kOk;
    Bytes data;
    template <typename Codec>
    void fields(Codec& codec) {
        codec(request, status, data);
    }
    bool operator==(const DiskCompletion&) const = default;
};

/// kConsoleInput
struct ConsoleInput {
    static constexpr EntryKind kKind = EntryKind::kConsoleInput;
    Bytes bytes;
    template <typename Codec>
    void fields(Codec& codec) {
        codec(bytes);
    }
    bool operator==(const ConsoleInput&) const = default;
};

/// kRandomBytes: answers the request with this number; fewer bytes than asked for are allowed, none is not.
struct RandomBytes {
    static constexpr EntryKind kKind = EntryKind::kRandomBytes;
    uint64_t request = 0;
    Bytes bytes;
    template <typename Codec>
    void fields(Codec& codec) {
        codec(request, bytes);
    }
    bool operator==(const RandomBytes&) const = default;
};

/// kTimeRate: ticks (ns) an instruction, as a 32.32 fixed-point number; never 0.
struct TimeRate {
    static constexpr EntryKind kKind = EntryKind::kTimeRate;
    uint64_t rate = 0;
    template <typename Codec>
    void fields(Codec& codec) {
        codec(rate);
    }
    bool operator==(const TimeRate&) const = default;
};

/// kTimeAdvance: ticks (ns) by which guest time jumps forward.
struct TimeAdvance {
    static constexpr EntryKind kKind = EntryKind::kTimeAdvance;
    uint64_t ticks = 0;
    template <typename Codec>
    void fields(Codec& codec) {
        codec(ticks);
    }
    bool operator==(const TimeAdvance&) const = default;
};

enum class PowerAction : uint8_t {
    kButton = 1,    ///< the guest's power button is pressed; a guest that listens shuts down cleanly
    kReset = 2,     ///< the machine stops as if the guest had asked for a reset
    kPowerOff = 3,  ///< the machine stops as if the guest had switched itself off
};

/// kPowerControl
struct PowerControl {
    static constexpr EntryKind kKind = EntryKind::kPowerControl;
    PowerAction action = PowerAction::kButton;
    template <typename Codec>
    void fields(Codec& codec) {
        codec(action);
    }
    bool operator==(const PowerControl&) const = default;
};

/// kCut: somebody saves the machine here, without its TLB, to go on from what was saved. Whoever else follows the
/// log clears the TLB, too: it decides when changed page tables are noticed.
struct Cut {
    static constexpr EntryKind kKind = EntryKind::kCut;
    template <typename Codec>
    void fields(Codec& codec) {
        codec();
    }
    bool operator==(const Cut&) const = default;
};

/// kOutput: the machine's outputs are numbered from 0 in the order in which it made them.
struct OutputMark {
    static constexpr EntryKind kKind = EntryKind::kOutput;
    uint64_t number = 0;
    template <typename Codec>
    void fields(Codec& codec) {
        codec(number);
    }
    bool operator==(const OutputMark&) const = default;
};

/// kStateHash: machine::StateHash at the entry's icount; `memory` is left out of cheap checkpoints.
struct StateHashMark {
    static constexpr EntryKind kKind = EntryKind::kStateHash;
    uint64_t registers = 0;
    uint64_t devices = 0;
    bool has_memory = false;
    uint64_t memory = 0;
    template <typename Codec>
    void fields(Codec& codec) {
        codec(registers, devices, has_memory, memory);
    }
    bool operator==(const StateHashMark&) const = default;
};

/// Parts of a state that differ from what a StateHashMark says, as bits.
enum StateParts : uint8_t { kRegistersDiffer = 1, kMemoryDiffers = 2, kDevicesDiffer = 4 };

enum class EndReason : uint8_t {
    kStopped = 1,   ///< the operator stopped the recording
    kPowerOff = 2,  ///< the guest switched itself off
    kReset = 3,     ///< the guest was reset
    kFailure = 4,   ///< the host gave up; `message` says why
    kHandOver = 5,  ///< the other side of the pair takes over by agreement
};

/// kEnd
struct EndMark {
    static constexpr EntryKind kKind = EntryKind::kEnd;
    EndReason reason = EndReason::kStopped;
    std::string message;
    template <typename Codec>
    void fields(Codec& codec) {
        codec(reason, message);
    }
    bool operator==(const EndMark&) const = default;
};

template <typename Payload>
Bytes encode(const Payload& payload) {
    return encode_fields(payload);
}

/// Decodes the payload of an entry, whose kind must be the payload's.
template <typename Payload>
Result<Payload> decode(const Entry& entry) {
    if (entry.kind != Payload::kKind)
        return error("log entry of kind {} where kind {} was expected", static_cast<unsigned>(entry.kind),
                     static_cast<unsigned>(Payload::kKind));
    return decode_fields<Payload>(entry.payload, "the payload of a log entry");
}

/// An entry of the payload's kind.
template <typename Payload>
Entry make_entry(Icount icount, uint16_t device, const Payload& payload) {
    return {Payload::kKind, icount, device, encode(payload)};
}

}  // namespace lockstep::record
