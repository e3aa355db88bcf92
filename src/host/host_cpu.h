// SPDX-License-Identifier: Apache-2.0
// This host's processor and this program's build, as far as a pair must agree on them.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "record/identity.h"

namespace lockstep::host {

/// Read from CPUID and XGETBV, and by running the instructions whose results vendors are free to choose.
record::CpuIdentity host_cpu_identity();

/// The processor's name, for people.
std::string host_cpu_brand();

/// The build of the program that runs, by the hash that its linker made of it.
Result<record::BuildIdentity> own_build_identity(std::string_view version);

}  // namespace lockstep::host
