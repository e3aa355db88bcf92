// SPDX-License-Identifier: Apache-2.0
// What can be said of a place in a recording.
//
// A place is an icount: the machine as it is when it has retired so many instructions, before the log's entries of
// that icount take effect. What an entry changes (a packet put into memory) is seen one instruction later.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/strong.h"
#include "cpu/breakpoints.h"

namespace lockstep::debug {

using Kind = cpu::Breakpoints::Kind;

/// Where a debugger wants to stop, in linear addresses.
struct Stop {
    uint64_t start = 0;
    uint64_t size = 0;
    Kind kind = Kind::kCode;

    template <typename Codec>
    void fields(Codec& codec) {
        codec(start, size, kind);
    }
    bool is_code() const { return kind == Kind::kCode; }
    bool operator==(const Stop&) const = default;
};
using Stops = std::vector<Stop>;

/// Why a machine came to stand where it does.
enum class Why : uint8_t {
    kThere,        ///< where it was to go
    kStop,         ///< at a stop
    kBegin,        ///< where the recording begins
    kEnd,          ///< where it ends
    kInterrupted,  ///< the debugger wants it to stand
    kBroken,       ///< the replay differs from its log, or the log is damaged: see `problem`
};

struct Arrival {
    Why why = Why::kThere;
    Icount icount;
    Stop stop;            ///< with kStop
    std::string problem;  ///< with kBroken

    template <typename Codec>
    void fields(Codec& codec) {
        codec(why, icount, stop, problem);
    }
};

/// A part of the guest's physical memory.
struct Range {
    uint64_t start = 0;
    uint64_t size = 0;

    template <typename Codec>
    void fields(Codec& codec) {
        codec(start, size);
    }
};

}  // namespace lockstep::debug
