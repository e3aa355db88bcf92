// SPDX-License-Identifier: Apache-2.0
// A recorded file, read entry by entry, and the machine that it tells of. Nothing leaves the machine.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "drive/replayer.h"
#include "host/files.h"
#include "record/log_stream.h"
#include "vmm/machine_factory.h"
#include "vmm/snapshot_loader.h"

namespace lockstep::vmm {

class LogPlayer : private bus::OutputSink {
  public:
    struct Options {
        translate::EngineOptions engine;
        /// Play the log of another build as well, with a warning; never that of another processor.
        bool any_build = false;
        /// Console output of the guest, as it comes; optional.
        std::function<void(ByteSpan)> console;
    };
    /// The machine is in its first state then. Fails where the log can't be read, is damaged or cut before it tells
    /// the machine, or is of another processor or (but for `any_build`) another build. `aborted`: see drive::Replayer.
    static Result<std::unique_ptr<LogPlayer>> open(const std::string& path, MachineFactory& factory,
                                                   const Options& options, const std::atomic<bool>& aborted);

    machine::Machine& machine() { return *machine_; }
    drive::Replayer& replayer() { return *replayer_; }

    /// The entry that comes next; null behind the last one, of which problem() says whether it ends the log.
    const record::Entry* next();
    /// It takes effect at its icount. Only then (kDone, or an end) it is no longer the next one.
    drive::ReplayResult apply();
    /// The next one is left out: once the log's end was reached only its form is of interest.
    void skip() { ++taken_; }
    /// Why the log ends before its end mark; empty where it doesn't.
    const std::string& problem() const { return problem_; }

  private:
    LogPlayer(std::string path, MachineFactory& factory, const Options& options, host::MappedFile file,
              const record::Identity& ours, const std::atomic<bool>& aborted);
    /// The next frame; empty at the end of the file.
    Result<std::optional<record::Frame>> read_frame();
    Result<void> take(const record::Frame& frame);
    Result<void> make_machine(const record::StartInfo& start, LogPos position);
    Result<void> restore(const record::SnapshotPiece& piece);
    void make_replayer(const drive::DriverCounts& counts);
    void output(bus::Output output) override;

    std::string path_;
    MachineFactory& factory_;
    Options options_;
    const std::atomic<bool>& aborted_;
    host::MappedFile file_;
    ByteSpan rest_;  ///< of the file
    record::LogReader reader_;
    record::BuildIdentity build_;  ///< this one
    std::unique_ptr<machine::Machine> machine_;
    std::unique_ptr<drive::Replayer> replayer_;
    uint64_t ram_bytes_ = 0;
    LogPos position_;
    std::optional<SnapshotLoader> snapshot_;
    record::EntryBatch batch_;
    size_t taken_ = 0;  ///< entries of the batch
    bool over_ = false;
    std::string problem_;
};

}  // namespace lockstep::vmm
