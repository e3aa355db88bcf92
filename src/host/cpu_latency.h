// SPDX-License-Identifier: Apache-2.0
// How deeply the host's idle processors may sleep.
//
// A packet on its way through a pair wakes up some five threads one after the other. Each that has to wake up
// a sleeping processor first waits 5 to 100 us, most in a cloud instance, whose processors sleep with the
// hypervisor's help. So while there is traffic the kernel is asked for processors that wake up at once (its
// CPU latency limit, /dev/cpu_dma_latency); idle ones then poll. The request ends with the traffic, or the
// process.
#pragma once

#include <cstdint>

#include "host/event_loop.h"
#include "host/file_descriptor.h"

namespace lockstep::host {

class CpuLatency {
  public:
    /// Without `wanted`, or the right to ask (root's), traffic() does nothing. `device` takes the requests,
    /// an int32_t in microseconds each.
    CpuLatency(EventLoop& loop, bool wanted, const char* device = kDevice);
    CpuLatency(const CpuLatency&) = delete;
    CpuLatency& operator=(const CpuLatency&) = delete;

    /// Somebody outside waits for what is being done now.
    void traffic();
    /// Whether the request stands.
    bool holds() const { return holds_; }

    /// The request outlives the last traffic by this: it interrupts all idle processors each time it is made.
    static constexpr uint64_t kHoldNs = 20'000'000;
    static constexpr const char* kDevice = "/dev/cpu_dma_latency";

  private:
    void ask(int32_t latency_us);
    void look_again();

    EventLoop& loop_;
    FileDescriptor device_;
    bool holds_ = false;
    uint64_t last_ns_ = 0;
    Timer timer_;
};

}  // namespace lockstep::host
