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
}  // namespace

void prefer_this_thread() {
    ::setpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()), kNice);
    sched_attr wanted{};
    if (syscall(SYS_sched_getattr, 0, &wanted, sizeof wanted, 0) < 0) return;
    wanted.sched_runtime = kSliceNs;
    syscall(SYS_sched_setattr, 0, &wanted, 0);
}

}  // namespace lockstep::host
