// SPDX-License-Identifier: Apache-2.0
// What leaves the toy machine and its log, as a session and a replica want them.
#pragma once

#include "bus/output.h"
#include "record/entry.h"
#include "sim/toy_machine.h"

namespace lockstep::sim {

bus::Output to_output(const ToyOutput& output);
/// Of a disk's read only kind, request and sector.
ToyOutput from_output(const bus::Output& output);

record::Entry to_entry(const ToyEntry& entry);
ToyEntry from_entry(const record::Entry& entry);

}  // namespace lockstep::sim
