// SPDX-License-Identifier: Apache-2.0
// State hashes: made on the side that runs the guest, compared wherever its log is replayed.
//
// A hash of all of the memory takes 100 ms for a GiB, too much for a running guest. A checkpoint therefore
// hashes registers, devices and one slice of the memory. Which slice follows from the icount alone, so both
// sides take the same; in the course of some hundred checkpoints every page has its turn. The mark at the end
// of a recording covers all of the memory (has_memory).
#pragma once

#include <cstdint>
#include <string>

#include "machine/machine.h"
#include "record/payloads.h"

namespace lockstep::drive {

inline constexpr uint64_t kSliceBytes = 2ull << 20;

enum class HashScope : uint8_t { kSlice, kAll };

/// Hashes the machine as it is now.
record::StateHashMark make_checkpoint(machine::Machine& machine, uint64_t ram_bytes, HashScope scope);

/// The parts that differ, as record::StateParts; 0: none.
uint8_t differing_parts(const record::StateHashMark& recorded, const record::StateHashMark& ours);

/// "registers and devices", for sentences.
std::string parts_text(uint8_t parts);

}  // namespace lockstep::drive
