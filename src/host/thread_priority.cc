#include "host/thread_priority.h"

#include <linux/sched.h>
#include <linux/sched/types.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>

namespace lockstep::host {

namespace {

constexpr int kNice = -10;
/// The shortest slice that the kernel grants. Since Linux 6.12 a thread with a shorter slice than the one
/// that runs needn't wait for the end of that one's, some milliseconds; older kernels go by the nice value
/// alone.
constexpr uint64_t kSliceNs = 100'000;
/// Real-time priorities: the lowest for threads that poll, the next for those that have something to do.
constexpr uint32_t kPolling = 1, kPreferred = 2;

bool set_attributes(sched_attr wanted) {
    wanted.size = sizeof wanted;
    return syscall(SYS_sched_setattr, 0, &wanted, 0) == 0;
}

bool set_real_time(uint32_t priority) {
    sched_attr wanted{};
    wanted.sched_policy = SCHED_RR;
    wanted.sched_priority = priority;
    wanted.sched_flags = SCHED_FLAG_RESET_ON_FORK;
    return set_attributes(wanted);
}

bool is_real_time() { return syscall(SYS_sched_getscheduler, 0) == (SCHED_RR | SCHED_RESET_ON_FORK); }

}  // namespace

// A thread with a share, however great, is preempted by the thread that it wakes up, and then waits until its
// account is even again: behind the backup's replay where it was about to read an acknowledgement. A
// real-time priority ends that.
void prefer_this_thread() {
    if (set_real_time(kPreferred)) return;
    ::setpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()), kNice);
    sched_attr wanted{};
    if (syscall(SYS_sched_getattr, 0, &wanted, sizeof wanted, 0) < 0) return;
    wanted.sched_runtime = kSliceNs;
    set_attributes(wanted);
}

PollingPriority::PollingPriority() : preferred_(is_real_time() && set_real_time(kPolling)) {}

PollingPriority::~PollingPriority() {
    if (preferred_) set_real_time(kPreferred);
}

void PollingPriority::give_way() const { syscall(SYS_sched_yield); }

}  // namespace lockstep::host
