// SPDX-License-Identifier: Apache-2.0
#include "translate/engine_report.h"

namespace lockstep::translate {

std::vector<Figure> figures(const EngineReport& report) {
    const VcpuCounters& counters = report.counters;
    return {{"blocks_translated", counters.blocks_translated},
            {"instructions_translated", counters.instructions_translated},
            {"blocks_copied", counters.blocks_copied},
            {"dispatches", counters.dispatches},
            {"memory_misses", counters.memory_misses},
            {"windows", counters.windows},
            {"window_faults", counters.window_faults},
            {"slow_accesses", counters.slow_accesses},
            {"interpreted", counters.interpreted},
            {"exceptions", counters.exceptions},
            {"interrupts", counters.interrupts},
            {"code_pages_forgotten", counters.code_pages_forgotten},
            {"copies_forgotten", counters.copies_forgotten},
            {"code_clears", counters.code_clears},
            {"hot_code_bytes", report.hot.bytes},
            {"hot_code_room", report.hot.room},
            {"cold_code_bytes", report.cold.bytes},
            {"cold_code_room", report.cold.room}};
}

}  // namespace lockstep::translate
