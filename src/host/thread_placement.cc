// SPDX-License-Identifier: Apache-2.0
#include "host/thread_placement.h"

namespace lockstep::host {

int current_processor() { return ::sched_getcpu(); }

ThreadPlacement::ThreadPlacement() {
    CPU_ZERO(&allowed_);
    has_choice_ = ::sched_getaffinity(0, sizeof allowed_, &allowed_) == 0 && CPU_COUNT(&allowed_) > 1;
}

void ThreadPlacement::keep_off(int processor) {
    if (!has_choice_ || processor < 0 || processor != current_processor()) return;
    cpu_set_t others = allowed_;
    CPU_CLR(processor, &others);
    (void)::sched_setaffinity(0, sizeof others, &others);
}

}  // namespace lockstep::host
