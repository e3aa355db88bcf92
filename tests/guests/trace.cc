// SPDX-License-Identifier: Apache-2.0
#include "trace.h"

#include <fmt/format.h>

#include <cstring>

#include "base/check.h"
#include "cpu/save.h"

namespace lockstep::guests {

std::string compare(const TracePoint& expected, const TracePoint& actual) {
    const cpu::CpuState &left = expected.state, &right = actual.state;
    std::string out;
    if (cpu::hash(left) != cpu::hash(right))
        out +=
            fmt::format("  expected {}\n  actual   {}\n", describe(expected.state), describe(actual.state));
    if (std::memcmp(left.fx.bytes.data(), right.fx.bytes.data(), left.fx.bytes.size()) != 0)
        out += "  x87 or SSE state differs\n";
    if (expected.memory_hash != actual.memory_hash) out += "  memory differs\n";
    return out;
}

std::vector<TracePoint> trace(GuestMachine& machine, uint64_t most) {
    std::vector<TracePoint> points{trace_point(machine)};
    while (points.size() <= most) {
        translate::VcpuExit exit = machine.run(Icount(points.size()));
        if (exit != translate::VcpuExit::kReached) return points;
        CHECK(machine.cpu->state.icount.value() == points.size(), "stopped at {} instead of {}",
              machine.cpu->state.icount.value(), points.size());
        points.push_back(trace_point(machine));
    }
    CHECK(false, "the guest doesn't end: {}", describe(machine.cpu->state));
    return points;
}

}  // namespace lockstep::guests
