// SPDX-License-Identifier: Apache-2.0
#include "translate/departures.h"

#include <algorithm>
#include <functional>

namespace lockstep::translate {

namespace {

constexpr const char* name_of(ExitKind kind) {
    switch (kind) {
        case ExitKind::kMemory:
            return "page not in the map";
        case ExitKind::kLink:
            return "branch without a chain";
        case ExitKind::kIndirect:
            return "indirect branch, unknown";
        case ExitKind::kRefusedBranch:
            return "branch to no address";
        case ExitKind::kDirect:
            return "direct branch, unknown";
        case ExitKind::kBudget:
            return "block beyond the stop";
        case ExitKind::kInterpret:
            return "interpreted";
        case ExitKind::kInterpretFpu:
            return "interpreted, x87 state";
        case ExitKind::kInterpretString:
            return "interpreted string";
        case ExitKind::kUndefined:
            return "undefined instruction";
        case ExitKind::kTooLong:
            return "instruction too long";
        case ExitKind::kFpuUnavailable:
            return "no x87 or SSE now";
        case ExitKind::kAvxUnavailable:
            return "no AVX now";
        case ExitKind::kHostFault:
            return "fault of the host";
    }
    return "?";
}

constexpr const char* name_of(SlowCause cause) {
    switch (cause) {
        case SlowCause::kAcrossPages:
            return "across pages";
        case SlowCause::kMisaligned:
            return "misaligned";
        case SlowCause::kOtherHalf:
            return "user code, kernel's half";
        case SlowCause::kDevice:
            return "device";
        case SlowCause::kBreakpoint:
            return "page with a breakpoint";
        case SlowCause::kMarkedPage:
            return "write to a page with code";
        case SlowCause::kNotForWindow:
            return "not for the window";
        case SlowCause::kHostFault:
            return "fault of the host";
        case SlowCause::kAlone:
            return "alone";
        case SlowCause::kNarrow:
            return "16- or 32-bit code";
    }
    return "?";
}

/// Adds what has happened of a group.
template <typename Kind, typename Counts, typename NameOf>
void add_group(std::vector<Departure>& out, const char* group, const Counts& counts, NameOf&& name_of_kind) {
    auto first = static_cast<std::ptrdiff_t>(out.size());
    for (size_t kind = 0; kind < counts.size(); ++kind)
        if (counts[kind]) out.push_back({group, name_of_kind(static_cast<Kind>(kind)), counts[kind]});
    std::ranges::stable_sort(out.begin() + first, out.end(), std::greater(), &Departure::times);
}

}  // namespace

std::vector<Departure> DepartureCounts::list(const cpu::InterpretedCounts& interpreted) const {
    std::vector<Departure> out;
    add_group<ExitKind>(out, "exit", exits_, [](ExitKind kind) { return name_of(kind); });
    add_group<SlowCause>(out, "slow access", slow_, [](SlowCause cause) { return name_of(cause); });
    add_group<cpu::InstructionKind>(out, "interpreted", interpreted, cpu::name_of_kind);
    return out;
}

}  // namespace lockstep::translate
