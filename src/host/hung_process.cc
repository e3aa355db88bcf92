// SPDX-License-Identifier: Apache-2.0
#include "host/hung_process.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <thread>

#include "base/log.h"
#include "host/clock.h"
#include "host/control_socket.h"

namespace lockstep::host {

namespace {

constexpr uint64_t kPauseNs = 20 * kNsPerMs;
constexpr uint64_t kLongestQuestionNs = 500 * kNsPerMs;

/// A process that ends, or has only started and has no control socket yet, gets the time, too.
bool ends_or_answers(const std::string& base, const std::string& vm, uint64_t timeout_ms) {
    std::string socket = RuntimeFolder::control_socket_of(base, vm);
    uint64_t end_ns = monotonic_ns() + timeout_ms * kNsPerMs;
    for (uint64_t now_ns = monotonic_ns(); now_ns < end_ns; now_ns = monotonic_ns()) {
        if (RuntimeFolder::process_of(base, vm) == 0) return true;
        uint64_t left_ns = std::min(end_ns - now_ns, kLongestQuestionNs);
        if (control_request(socket, {{"action", "status"}}, left_ns).ok()) return true;
        std::this_thread::sleep_for(std::chrono::nanoseconds(kPauseNs));
    }
    return false;
}

}  // namespace

Result<void> end_hung_process(const std::string& base, const std::string& vm, const OwnsNothing& owns_nothing,
                              const HungProcessBounds& bounds) {
    if (ends_or_answers(base, vm, bounds.answer)) return {};
    std::optional<ProcessHandle> process = RuntimeFolder::holder(base, vm);
    if (!process && RuntimeFolder::process_of(base, vm) == 0) return {};
    // The owner cuts what it is told to 200 characters.
    if (!process) return error("a process there that can't be told keeps {}/{}; find and end it", base, vm);
    std::string who = fmt::format("process {} there doesn't answer", process->number());
    Result<Claimant> claimant = RuntimeFolder::claimant_of(base, vm);
    if (!claimant) return error("{}, and stays: {}", who, claimant.error().message());
    if (Result<void> proof = owns_nothing(claimant.value()); !proof)
        return error("{}, and stays, since it may own the VM: {}", who, proof.error().message());
    if (!process->signal(SIGKILL))
        return error("{}, and can't be ended: {}; end it there", who, std::strerror(errno));
    if (!process->wait_for_end(bounds.end))
        return error("{}, nor does it end: the kernel holds it; see to its storage, or restart that host",
                     who);
    log_warning("VM {}: process {}, which served it here and didn't answer, was ended", vm,
                process->number());
    return {};
}

}  // namespace lockstep::host
