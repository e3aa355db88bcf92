// SPDX-License-Identifier: Apache-2.0
// Whether this host can run a VM: memory, limits of the kernel, features of the CPU.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "x86/features.h"

namespace lockstep::host {

struct HostNeeds {
    uint64_t memory_bytes = 0;  ///< the guest's, plus what the engine takes
    uint64_t mappings = 0;      ///< areas of address space (vm.max_map_count)
};

/// One sentence for each thing that is missing, with its remedy; empty: the host will do.
std::vector<std::string> missing_on_host(const HostNeeds& needs);
/// The same as one Error.
Result<void> check_host(const HostNeeds& needs);

/// The features of a CPU model that this host's processor lacks, by name with commas between; empty: it has them all.
std::string missing_features(x86::CpuModel model);
/// The last of the models whose features it has; the first where it has none.
x86::CpuModel best_cpu_model();

/// Memory that could be had without swapping, in bytes (MemAvailable).
uint64_t available_memory();
uint64_t max_map_count();
/// This process may open as many files as the host lets it.
void allow_many_files();
/// From now on what was allocated in one large piece goes back to the host as soon as it is freed. (The
/// library keeps such pieces once some of their size have been freed: a VM's initial RAM disk thrice.) Of what is free behind all
/// others a little is kept, so that pieces of a copy, which come and go, don't take and give back their pages each time.
void return_large_allocations();

}  // namespace lockstep::host
