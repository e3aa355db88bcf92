// SPDX-License-Identifier: Apache-2.0
#include "host/cpu_latency.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/log.h"

namespace lockstep::host {

namespace {

constexpr int32_t kAtOnce = 0;
constexpr int32_t kNoLimit = 2'000'000'000;  // the kernel's PM_QOS_CPU_LATENCY_DEFAULT_VALUE

}  // namespace

CpuLatency::CpuLatency(EventLoop& loop, bool wanted, const char* device) : loop_(loop) {
    if (!wanted) return;
    device_ = FileDescriptor(::open(device, O_WRONLY | O_CLOEXEC));
    if (!device_) log_debug("{} can't be opened: packets may wait for sleeping processors", device);
    ask(kNoLimit);  // a request that was only opened stands at 0
}

void CpuLatency::traffic() {
    if (!device_) return;
    last_ns_ = loop_.now_ns();
    if (holds_) return;
    ask(kAtOnce);
    timer_ = loop_.call_after(kHoldNs, [this] { look_again(); });
}

void CpuLatency::look_again() {
    uint64_t over_ns = last_ns_ + kHoldNs;
    if (loop_.now_ns() < over_ns) {
        timer_ = loop_.call_at(over_ns, [this] { look_again(); });
        return;
    }
    ask(kNoLimit);
}

void CpuLatency::ask(int32_t latency_us) {
    if (device_ && ::write(device_.get(), &latency_us, sizeof latency_us) != sizeof latency_us)
        device_.reset();
    holds_ = device_ && latency_us == kAtOnce;
}

}  // namespace lockstep::host
