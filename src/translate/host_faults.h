// SPDX-License-Identifier: Apache-2.0
// Signals of the vCPU thread.
//
// A guest instruction that faults on the host's CPU (a division by zero, a misaligned MOVAPS, a non-canonical
// address, a page that isn't in the window) raises a signal in translated code: the handler notes what
// happened in EngineState::fault and sends the thread to the fault trampoline, which leaves with the guest's
// registers as the instruction found them. A stop request (from another thread or a handler) is a signal too:
// in translated code it makes the counter large, so that the next block head leaves. Signals run on a stack
// of their own, since translated code has the guest's RSP; SS_AUTODISARM keeps the kernel from comparing that
// with the stack's bounds.
//
// Some hosts (virtual ones without hardware virtualization) can't return to a program whose RSP isn't
// canonical, as a guest's program may have it: the return raises #GP, seemingly in the instruction that it
// was to go on at. A handler then returns to a trampoline that loads RSP itself. An instruction that seems to
// fail so time after time does raise #GP.
#pragma once

#include <pthread.h>

#include <atomic>
#include <cstdint>

#include "translate/code_cache.h"
#include "translate/stop_urgency.h"
#include "translate/trampolines.h"

namespace lockstep::translate {

class HostFaults {
  public:
    HostFaults(CodeCache& cache, const Trampolines& trampolines) : cache_(cache), trampolines_(trampolines) {}
    ~HostFaults();

    /// Makes the calling thread the vCPU's, until leave_thread().
    void enter_thread();
    void leave_thread();
    /// Makes translated code leave soon; sticks until take_stop().
    void request_stop(StopUrgency urgency);
    bool stop_requested() const { return request_.load() != Request::kNone; }
    /// Whoever asks from here on is heard again; what was done before an earlier request is seen.
    void take_stop() { request_.exchange(Request::kNone); }

  private:
    friend void handle_fault(int signal, void* info, void* context);
    friend void handle_stop(void* context);

    bool is_failed_return(const long long* registers);
    void return_by_trampoline(long long* registers);

    CodeCache& cache_;
    const Trampolines& trampolines_;
    /// One variable: a request that comes while another is taken must not leave a half of itself behind.
    enum class Request : uint8_t { kNone, kQuiet, kSignalled };
    std::atomic<Request> request_{Request::kNone};
    std::atomic<bool> in_thread_{false};
    /// What looked like a return that the host's kernel couldn't do, and how often in a row.
    struct FailedReturn {
        uint64_t pc = 0, rsp = 0, counter = 0;
        unsigned times = 0;
    } failed_return_;
    pthread_t thread_{};
};

}  // namespace lockstep::translate
