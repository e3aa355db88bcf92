// SPDX-License-Identifier: Apache-2.0
#include "host/limits.h"

#include <malloc.h>
#include <sys/resource.h>

#include <fstream>

#include "host/host_cpu.h"
#include "x86/features.h"

namespace lockstep::host {

namespace {

constexpr uint64_t kMiB = 1 << 20;

}  // namespace

// What a model shows to guests and the processor executes; the translator's own code uses what the first one has
// (docs/engine.md).
std::string missing_features(x86::CpuModel model) {
    uint64_t have = host_cpu_identity().features.bits;
    std::string missing;
    for (const x86::FeatureRow& feature : x86::kFeatures) {
        bool needed = feature.executor == x86::Executor::kHost && x86::offers(model, feature);
        if (needed && !(have >> feature.identity_bit & 1))
            missing += (missing.empty() ? "" : ", ") + std::string(feature.name);
    }
    return missing;
}

x86::CpuModel best_cpu_model() {
    return missing_features(x86::CpuModel::kV3).empty() ? x86::CpuModel::kV3 : x86::CpuModel::kV2;
}

uint64_t available_memory() {
    std::ifstream file("/proc/meminfo");
    std::string name, unit;
    uint64_t kib = 0;
    while (file >> name >> kib) {
        if (name == "MemAvailable:") return kib * 1024;
        std::getline(file, unit);
    }
    return 0;
}

uint64_t max_map_count() {
    std::ifstream file("/proc/sys/vm/max_map_count");
    uint64_t count = 0;
    file >> count;
    return count;
}

std::vector<std::string> missing_on_host(const HostNeeds& needs) {
    std::vector<std::string> sentences;
    if (uint64_t available = available_memory(); available < needs.memory_bytes) {
        sentences.push_back(
            fmt::format("the VM needs {} MiB of memory and this host has {} MiB free; give the VM less, or "
                        "stop something else",
                        needs.memory_bytes / kMiB, available / kMiB));
    }
    if (uint64_t allowed = max_map_count(); allowed < needs.mappings) {
        sentences.push_back(
            fmt::format("the VM needs {} memory mappings and this host allows {}; raise it with 'sysctl "
                        "vm.max_map_count={}'",
                        needs.mappings, allowed, needs.mappings));
    }
    if (std::string missing = missing_features(x86::CpuModel::kV2); !missing.empty()) {
        sentences.push_back(fmt::format(
            "this host's processor ({}) lacks {}; use a newer one, or show it to this virtual host",
            host_cpu_brand(), missing));
    }
    return sentences;
}

void allow_many_files() {
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &limit);
}

void return_large_allocations() {
    constexpr int kLargeBytes = 4 << 20, kFewBytes = 1 << 20;
    mallopt(M_MMAP_THRESHOLD, kLargeBytes);
    mallopt(M_TRIM_THRESHOLD, kFewBytes);
}

Result<void> check_host(const HostNeeds& needs) {
    std::string all;
    for (const std::string& sentence : missing_on_host(needs)) all += (all.empty() ? "" : "; ") + sentence;
    if (!all.empty()) return Error(all);
    return {};
}

}  // namespace lockstep::host
