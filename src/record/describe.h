// SPDX-License-Identifier: Apache-2.0
// Log entries as text, for people: the payloads' fields by name, long byte strings as size and hash.
#pragma once

#include <string>

#include "record/entry.h"

namespace lockstep::record {

/// The payload's fields; for a payload that can't be decoded, "malformed: " and why.
std::string describe_payload(const Entry& entry);
/// Why the payload can't be decoded; empty where it can.
std::string malformed_payload(const Entry& entry);
/// One line without its end: position, icount, kind, device, payload.
std::string describe_entry(LogPos position, const Entry& entry);

}  // namespace lockstep::record
