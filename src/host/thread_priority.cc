// SPDX-License-Identifier: Apache-2.0
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
constexpr uint32_t kLowestRealTime = 1;

bool set_attributes(sched_attr wanted) {
    wanted.size = sizeof wanted;
    return syscall(SYS_sched_setattr, 0, &wanted, 0) == 0;
}

}  // namespace

// A thread with a share, however great, is preempted by the thread that it wakes up, and then waits until its
// account is even again: behind the backup's replay where it was about to read an acknowledgement. The lowest
// real-time priority ends that.
void prefer_this_thread() {
    sched_attr real_time{};
    real_time.sched_policy = SCHED_RR;
    real_time.sched_priority = kLowestRealTime;
    real_time.sched_flags = SCHED_FLAG_RESET_ON_FORK;
    if (set_attributes(real_time)) return;
    ::setpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()), kNice);
    sched_attr wanted{};
    if (syscall(SYS_sched_getattr, 0, &wanted, sizeof wanted, 0) < 0) return;
    wanted.sched_runtime = kSliceNs;
    set_attributes(wanted);
}

}  // namespace lockstep::host
