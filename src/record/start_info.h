// SPDX-License-Identifier: Apache-2.0
// The bodies of the start frame and of the snapshot frames.
#pragma once

#include <string>

#include "base/result.h"
#include "record/fields.h"
#include "record/identity.h"

namespace lockstep::record {

enum class Origin : uint8_t {
    kFreshBoot = 0,  ///< the machine starts at power-on, made from the configuration alone
    kSnapshot = 1,   ///< snapshot frames follow
};

/// The body of the start frame.
struct StartInfo {
    BuildIdentity build;  ///< of the recording side
    CpuIdentity cpu;      ///< of the recording side
    Origin origin = Origin::kFreshBoot;
    Icount first_icount;  ///< of the machine at the start
    Bytes configuration;  ///< of the machine, as the machine encodes it

    template <typename Codec>
    void fields(Codec& codec) {
        codec(build, cpu, origin, first_icount, configuration);
    }
    Bytes encode() const { return encode_fields(*this); }
    static Result<StartInfo> decode(ByteSpan body);
    bool operator==(const StartInfo&) const = default;
};

/// Which builds' logs a reader takes.
enum class BuildRule : uint8_t {
    kSame,  ///< its own build's alone
    kAny,   ///< any build's; whether the two compute alike is then what a replay shows, and no certainty
};

/// What a reader is itself, to be compared with a log's start.
struct Identity {
    BuildIdentity build;
    CpuIdentity cpu;
    BuildRule builds = BuildRule::kSame;
};

/// Why a machine of `ours` can't replay the log, as a sentence; empty where it can.
std::string incompatible(const StartInfo& start, const Identity& ours);

/// The body of a snapshot frame. The pieces join without a gap; the last one says so.
struct SnapshotPiece {
    uint64_t offset = 0;  ///< of its first byte in the snapshot
    bool last = false;
    Bytes bytes;

    template <typename Codec>
    void fields(Codec& codec) {
        codec(offset, last, bytes);
    }
    Bytes encode() const { return encode_fields(*this); }
    static Result<SnapshotPiece> decode(ByteSpan body) {
        return decode_fields<SnapshotPiece>(body, "a snapshot frame's body");
    }
    bool operator==(const SnapshotPiece&) const = default;
};

}  // namespace lockstep::record
