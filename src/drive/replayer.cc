// SPDX-License-Identifier: Apache-2.0
#include "drive/replayer.h"

#include "base/log.h"
#include "drive/checkpoint.h"
#include "record/entry_table.h"

namespace lockstep::drive {

using machine::Stop;
using record::Entry;
using record::EntryKind;

Replayer::Replayer(machine::Machine& machine, uint64_t ram_bytes, LogPos position, const DriverCounts& counts,
                   const std::atomic<bool>& aborted)
    : machine_(machine), ram_bytes_(ram_bytes), position_(position), counts_(counts), aborted_(aborted) {}

void Replayer::count_output() { ++counts_.outputs; }

ReplayResult Replayer::diverged(uint8_t parts, const std::string& what) {
    divergence_ = Divergence{position_, machine_.icount(), parts,
                             fmt::format("the replay differs from its log at entry {}, icount {}: {}",
                                         position_.value(), machine_.icount().value(), what)};
    if (log_enabled(LogLevel::kDebug)) log_debug("state at the divergence:\n{}", machine_.describe());
    return ReplayResult::kDiverged;
}

ReplayResult Replayer::run_to(Icount icount) {
    while (machine_.icount() < icount) {
        if (aborted_) return ReplayResult::kAborted;
        if (off_) return diverged(record::kRegistersDiffer, "the guest is off, but its log goes on");
        switch (machine_.run(icount)) {
            case Stop::kReached:
            case Stop::kRequested:
                break;
            case Stop::kDebugger:
                return ReplayResult::kStopped;
            case Stop::kReset:
                machine_.reset();
                ++counts_.resets;
                break;
            case Stop::kPowerOff:
                off_ = true;
                break;
            case Stop::kHalted:
                if (machine_.icount() >= icount) break;
                return diverged(record::kRegistersDiffer,
                                fmt::format("the guest is halted, but ran on to icount {} when recorded",
                                            icount.value()));
        }
    }
    return ReplayResult::kDone;
}

// Nothing but outputs of the same instruction can follow in the log at its icount: it has begun.
ReplayResult Replayer::catch_up(Icount complete) {
    ReplayResult result = run_to(complete);
    if (result != ReplayResult::kDone || !outputs_due()) return result;
    caught_up_ = true;
    result = run_to(due_after_ + 1);
    return result == ReplayResult::kDone ? check_outputs_made() : result;
}

ReplayResult Replayer::apply(const Entry& entry) {
    bool of_last = caught_up_ && entry.kind == EntryKind::kOutput && entry.icount == due_after_ &&
                   machine_.icount() == due_after_ + 1;
    if (of_last) {
        ReplayResult result = compare_output(entry);
        if (result == ReplayResult::kDone) result = check_outputs_made();
        if (result == ReplayResult::kDone) ++position_;
        return result;
    }
    caught_up_ = false;
    if (entry.icount < machine_.icount())
        return diverged(record::kRegistersDiffer,
                        fmt::format("the entry ({}) belongs to icount {}, which is past",
                                    record::entry_name(entry.kind), entry.icount.value()));
    ReplayResult result = run_to(entry.icount);
    if (result == ReplayResult::kDone) result = check_outputs_made();
    if (result != ReplayResult::kDone) return result;
    result = take_effect(entry);
    if (result != ReplayResult::kDiverged) ++position_;
    return result;
}

ReplayResult Replayer::take_effect(const Entry& entry) {
    switch (entry.kind) {
        case EntryKind::kStateHash:
            return compare_hash(entry);
        case EntryKind::kOutput:
            return compare_output(entry);
        case EntryKind::kEnd:
            return end(entry);
        case EntryKind::kTimeRate:
            if (auto payload = record::decode<record::TimeRate>(entry)) counts_.rate = payload.value().rate;
            break;
        default:
            break;
    }
    machine_.deliver(entry);
    return ReplayResult::kDone;
}

ReplayResult Replayer::compare_hash(const Entry& entry) {
    auto recorded = record::decode<record::StateHashMark>(entry);
    if (!recorded) return diverged(0, recorded.error().message());
    HashScope scope = recorded.value().has_memory ? HashScope::kAll : HashScope::kSlice;
    uint8_t parts = differing_parts(recorded.value(), make_checkpoint(machine_, ram_bytes_, scope));
    if (parts) return diverged(parts, fmt::format("the hash of {} is another", parts_text(parts)));
    ++checkpoints_;
    return ReplayResult::kDone;
}

// A mark is made in the midst of an instruction, which may make several outputs, or by a delivery, which makes one at most. So at the mark's icount the
// machine has made all outputs but those of this one instruction; once it is past, all of them.
ReplayResult Replayer::compare_output(const Entry& entry) {
    auto mark = record::decode<record::OutputMark>(entry);
    if (!mark) return diverged(0, mark.error().message());
    uint64_t number = mark.value().number;
    if (counts_.outputs > number + 1 && !caught_up_)
        return diverged(
            record::kDevicesDiffer,
            fmt::format("output {} was recorded here, but {} were made already", number, counts_.outputs));
    due_outputs_ = number + 1;
    due_after_ = entry.icount;
    return ReplayResult::kDone;
}

ReplayResult Replayer::check_outputs_made() {
    if (machine_.icount() <= due_after_ || counts_.outputs >= due_outputs_) return ReplayResult::kDone;
    return diverged(record::kDevicesDiffer,
                    fmt::format("{} outputs were recorded up to icount {}, but {} were made", due_outputs_,
                                due_after_.value(), counts_.outputs));
}

ReplayResult Replayer::end(const Entry& entry) {
    auto mark = record::decode<record::EndMark>(entry);
    if (!mark) return diverged(0, mark.error().message());
    if (mark.value().reason != record::EndReason::kPowerOff) return ReplayResult::kEnded;
    while (!off_) {
        if (aborted_) return ReplayResult::kAborted;
        Stop stop = machine_.run(entry.icount);
        if (stop == Stop::kPowerOff) off_ = true;
        if (stop == Stop::kReset) machine_.reset();
        if (stop == Stop::kReached || stop == Stop::kHalted)
            return diverged(record::kRegistersDiffer, "the guest switched itself off here when recorded");
    }
    return ReplayResult::kPowerOff;
}

}  // namespace lockstep::drive
