// SPDX-License-Identifier: Apache-2.0
// Recordings and snapshots of a VM that runs: the copy of its first state, and the log from there on.
//
//     kIdle --begin_file()--> the guest's writes are watched --> the cut --> pages go to the file, entries wait
//                                                                                  | all have gone
//                             finished (a snapshot), or the log goes on <----------+
//
// The guest stands for the beginning and for the cut, whatever the size of its memory (memory/clone.h). It needs no
// rounds before the cut, as a copy for another host does: no log waits for a link.
#include "base/log.h"
#include "vmm/cpu_choice.h"
#include "vmm/snapshot_writer.h"
#include "vmm/vm_process.h"

namespace lockstep::vmm {

Result<void> VmProcess::start_recording(const std::string& path) { return begin_file(path, Extent::kOn); }

Result<void> VmProcess::snapshot(const std::string& path) {
    TRY(begin_file(path, Extent::kThisMoment));
    snapshot_outcome_ = kSnapshotUnderWay;
    return {};
}

Result<void> VmProcess::begin_file(const std::string& path, Extent extent) {
    if (recording_)
        return error("VM {} is being {} to {} already", settings_.name,
                     only_snapshot_ ? "copied" : "recorded", recording_->path());
    if (!guest_->lend_clone())
        return error("VM {} is being copied for a backup; try again when it is protected", settings_.name);
    if (Result<void> opened = open_recording(path); !opened) {
        guest_->take_clone_back();
        return environment_.confinement && environment_.confinement->is_wanted()
                   ? error(
                         "{} (a VM that runs is recorded into the folder {} alone: `recordings` of [host] in "
                         "host.toml)",
                         opened.error().message(), environment_.confinement->recordings())
                   : std::move(opened);
    }
    only_snapshot_ = extent == Extent::kThisMoment;
    vcpu_->start_clone([this](memory::Clone& clone) {
        if (!recording_) return end_snapshot_clone();
        Bytes nothing;
        clone.take(nothing, 0);  // looks what is in use, which takes a while, while the guest runs
        vcpu_->cut([this, &clone](VcpuThread::Cut made) { write_snapshot(clone, std::move(made)); });
    });
    return {};
}

void VmProcess::write_snapshot(memory::Clone& clone, VcpuThread::Cut made) {
    if (!recording_) return end_snapshot_clone();
    recording_->begin_snapshot(session_->machine(), made.position, made.icount);
    if (!only_snapshot_) vcpu_->set_hash_period(guest_->hash_period_ns());
    auto state = std::make_shared<Bytes>(std::move(made.state));
    auto written = [file = recording_.get(), state, icount = made.icount,
                    all = only_snapshot_]() -> Result<void> {
        if (!all) return {};
        file->end_snapshot(*state);
        return file->finish(icount, record::EndReason::kStopped);  // waits for the disk
    };
    auto done = [this, alive = std::weak_ptr<bool>(alive_), state](const Result<void>& outcome) {
        loop_.post([this, alive, state, outcome] {
            if (!alive.expired()) snapshot_written(outcome, *state);
        });
    };
    snapshot_writer_ =
        std::make_unique<SnapshotWriter>(clone, *recording_, SnapshotWriter::Hooks{written, done});
}

void VmProcess::snapshot_written(const Result<void>& outcome, ByteSpan state) {
    if (!snapshot_writer_) return;  // it was given up meanwhile
    end_snapshot_clone();
    if (!outcome) return recording_failed(error("{}: {}", recording_->path(), outcome.error().message()));
    if (!only_snapshot_) return recording_->end_snapshot(state);
    recording_.reset();
    snapshot_outcome_.clear();
}

void VmProcess::end_snapshot_clone() {
    snapshot_writer_.reset();
    vcpu_->end_clone();
    guest_->take_clone_back();
}

Result<void> VmProcess::open_recording(const std::string& path) {
    recording_failure_.clear();
    auto failed = [this, alive = std::weak_ptr<bool>(alive_)](const Error& why) {
        if (!alive.expired()) recording_failed(why);
    };
    recording_ = TRY(FileRecording::create(loop_, path, cpu_model(settings_), failed));
    return {};
}

/// The file keeps what it has, the VM goes on.
void VmProcess::recording_failed(const Error& why) {
    if (!recording_failure_.empty()) return;
    recording_failure_ = why.message();
    log_error("VM {}: the {} here: {}", settings_.name, only_snapshot_ ? "snapshot fails" : "recording ends",
              why.message());
    if (only_snapshot_) snapshot_outcome_ = why.message();
    give_up_file();
}

void VmProcess::give_up_file() {
    if (snapshot_writer_) end_snapshot_clone();
    recording_.reset();
}

Result<std::string> VmProcess::stop_recording() {
    if (!recording_ || only_snapshot_) return error("VM {} isn't being recorded", settings_.name);
    if (!recording_->tells_start())
        return error("the recording of VM {} is only beginning; try again", settings_.name);
    std::unique_ptr<FileRecording> recording = std::move(recording_);
    TRY(recording->finish(session_->complete(), record::EndReason::kStopped));
    if (!guest_->wants_log()) vcpu_->set_hash_period(0);
    return recording->path();
}

/// Fails where the process was started to record, and the recording isn't whole.
Result<void> VmProcess::end_recording(Ending::Kind kind) {
    if (is_recorded()) {
        record::EndReason reason =
            kind == Ending::Kind::kPoweredOff ? record::EndReason::kPowerOff : record::EndReason::kStopped;
        if (Result<void> finished = recording_->finish(session_->complete(), reason); !finished)
            recording_failed(finished.error());
    }
    snapshot_writer_.reset();
    recording_.reset();
    if (recording_failure_.empty() || environment_.record_path.empty()) return {};
    return error("the recording {} is cut short: {}", environment_.record_path, recording_failure_);
}

}  // namespace lockstep::vmm
