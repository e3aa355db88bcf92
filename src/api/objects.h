// SPDX-License-Identifier: Apache-2.0
// What the API answers besides what VMs do (control/actions.h), field by field: for the answers, their document and the tests.
#pragma once

#include "control/actions.h"

namespace lockstep::api {

using control::Field;
using control::Kind;

// clang-format off
inline constexpr Field kCallerFields[] = {
    {"name", Kind::kText, "who asks, as the certificate says"},
    {"role", Kind::kText, "viewer, operator or admin"},
    {"host", Kind::kText, "the host that answers"},
};
inline constexpr Field kHostFields[] = {
    {"name", Kind::kText, "its name in the cluster, or its daemon's address where that isn't known"},
    {"here", Kind::kFlag, "it is the host that answers; of others only what VMs here have to do with them is known"},
    {"vms", Kind::kList, "VMs with a side there: name, and role there (of another host: backup or owner)"},
    {"certificate_until", Kind::kText, "the last day of its certificate; empty: not known"},
    {"insecure", Kind::kFlag, "its API lets in whoever reaches it"},
    {"processors", Kind::kInteger, "host processors; 0: not known"},
    {"memory_available_bytes", Kind::kInteger, "memory that could be had; 0: not known"},
};
inline constexpr Field kTaskFields[] = {
    {"id", Kind::kText, "stays the same while it goes on"},
    {"vm", Kind::kText, "the VM that it is of"},
    {"kind", Kind::kText, "copy: a new backup's copy of the guest"},
    {"phase", Kind::kText, "what is done now"},
    {"bytes_done", Kind::kInteger, "of the guest's memory"},
    {"bytes_of", Kind::kInteger, "which the guest writes on, so there may be more"},
    {"bytes_per_second", Kind::kNumber, "of late"},
    {"seconds_left", Kind::kNumber, "null: not known"},
};
/// Of an action of a VM, as it stands now.
inline constexpr Field kActionFields[] = {
    {"name", Kind::kText, "its name"},
    {"meaning", Kind::kText, "what it does"},
    {"role", Kind::kText, "the role that it needs"},
    {"possible", Kind::kFlag, "it may be asked for now, by who asks"},
    {"why_not", Kind::kText, "why it isn't possible, and what to do; empty: it is"},
    {"arguments", Kind::kList, "its arguments: name, kind, meaning, required, choices"},
};
inline constexpr Field kProblemFields[] = {
    {"type", Kind::kText, "a name for its kind"},
    {"title", Kind::kText, "what its kind means"},
    {"status", Kind::kInteger, "the status of HTTP"},
    {"code", Kind::kText, "stays the same whatever the sentences say"},
    {"detail", Kind::kText, "one sentence"},
    {"remedy", Kind::kText, "what to do, where the sentence doesn't say it all"},
};
// clang-format on

}  // namespace lockstep::api
