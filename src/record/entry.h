// SPDX-License-Identifier: Apache-2.0
// The log's entries: one table, from which the codec, the dump and the fuzzer are made.
//
// An entry is a kind, the icount at which it takes effect (its event point), the number of the device that
// it concerns (0: the machine itself), and a payload whose fields the kind fixes (see payloads.h).
#pragma once

#include <cstdint>
#include <string_view>

#include "base/bytes.h"
#include "base/strong.h"

namespace lockstep::record {

// LOCKSTEP_ENTRY(name, number, class, "what it says")
// Numbers are part of the format: never change or reuse one.
//   input:  crosses from the host into the machine; Machine::deliver() applies it
//   mark:   changes nothing in the machine; the replica and the tools read it
// clang-format off
#define LOCKSTEP_LOG_ENTRIES(LOCKSTEP_ENTRY)                                                                    \
    LOCKSTEP_ENTRY(kNetworkReceive, 1,  kInput, "packets received from the network, as one batch")              \
    LOCKSTEP_ENTRY(kDiskCompletion, 2,  kInput, "a disk request ended: request number, status, data if a read") \
    LOCKSTEP_ENTRY(kConsoleInput,   3,  kInput, "bytes typed at a console or serial port")                      \
    LOCKSTEP_ENTRY(kRandomBytes,    4,  kInput, "bytes for the guest's random number device")                   \
    LOCKSTEP_ENTRY(kTimeRate,       5,  kInput, "guest time steps per instruction from here on")                \
    LOCKSTEP_ENTRY(kTimeAdvance,    6,  kInput, "guest time jumps forward while the guest is halted")           \
    LOCKSTEP_ENTRY(kPowerControl,   7,  kInput, "power button, reset or power-off asked for by the operator")   \
    LOCKSTEP_ENTRY(kCut,            8,  kInput, "a copy of the machine is made of this point: the TLB is cleared")  \
    LOCKSTEP_ENTRY(kOutput,         16, kMark,  "the machine made output number n; it waits for this entry")    \
    LOCKSTEP_ENTRY(kStateHash,      17, kMark,  "hashes of registers, memory and devices at this point")        \
    LOCKSTEP_ENTRY(kEnd,            18, kMark,  "the recording ends here, and why")
// clang-format on

enum class EntryClass : uint8_t { kInput, kMark };

enum class EntryKind : uint8_t {
#define LOCKSTEP_ENTRY(name, number, entry_class, text) name = number,
    LOCKSTEP_LOG_ENTRIES(LOCKSTEP_ENTRY)
#undef LOCKSTEP_ENTRY
};

struct Entry {
    EntryKind kind{};
    Icount icount;
    uint16_t device = 0;
    Bytes payload;

    bool operator==(const Entry&) const = default;
};

}  // namespace lockstep::record
