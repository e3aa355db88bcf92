// SPDX-License-Identifier: Apache-2.0
#include "vmm/file_replay.h"

#include <chrono>
#include <thread>

#include "base/log.h"
#include "host/random.h"
#include "vmm/file_recording.h"

namespace lockstep::vmm {

namespace {

constexpr size_t kChunk = 1 << 20;

/// Asks a machine to stop, again and again, from a thread of its own.
class Disturber {
  public:
    explicit Disturber(machine::Machine& machine)
        : thread_([this, &machine] {
              while (!over_) {
                  machine.request_stop();
                  uint16_t pause = 0;
                  host::fill_random({reinterpret_cast<uint8_t*>(&pause), sizeof pause});
                  std::this_thread::sleep_for(std::chrono::microseconds(pause % 300));
              }
          }) {}
    ~Disturber() {
        over_ = true;
        thread_.join();
    }
    Disturber(const Disturber&) = delete;
    Disturber& operator=(const Disturber&) = delete;

  private:
    std::atomic<bool> over_ = false;
    std::thread thread_;
};

class FileReplay : private bus::OutputSink {
  public:
    FileReplay(MachineFactory& factory, const ReplayOptions& options, const std::atomic<bool>& aborted)
        : factory_(factory), options_(options), aborted_(aborted) {}

    Result<ReplayReport> run(const std::string& path) {
        host::MappedFile file = TRY(host::MappedFile::open(path));
        record::Identity ours = TRY(own_identity());
        if (options_.any_build) ours.builds = record::BuildRule::kAny;
        build_ = ours.build;
        record::LogReader reader(ours);
        ByteSpan rest = file.bytes();
        while (!over_) {
            auto frame = reader.next();
            if (!frame) return cut_short(path, frame.error());
            if (frame.value()) {
                TRY(take(*frame.value()));
                continue;
            }
            if (rest.empty()) {
                if (Result<void> whole = reader.finish(); !whole) return cut_short(path, whole.error());
                break;
            }
            size_t size = std::min(kChunk, rest.size());
            reader.feed(rest.first(size));
            rest = rest.subspan(size);
        }
        if (!replayer_) return error("{} holds no machine to replay; record again", path);
        return report();
    }

  private:
    static Error named(const std::string& path, const Error& why) {
        return error("{}: {}", path, why.message());
    }

    /// What comes before the fault is good, and has been replayed.
    Result<ReplayReport> cut_short(const std::string& path, const Error& why) {
        if (!replayer_) return named(path, why);
        ReplayReport found = report();
        found.complete = false;
        found.problem = named(path, why).message();
        return found;
    }

    Result<void> take(const record::Frame& frame) {
        if (auto* start = std::get_if<record::StartInfo>(&frame.content))
            return begin(*start, frame.header.position());
        if (auto* piece = std::get_if<record::SnapshotPiece>(&frame.content)) return restore(*piece);
        if (auto* batch = std::get_if<record::EntryBatch>(&frame.content)) return apply(*batch);
        return {};
    }

    Result<void> begin(const record::StartInfo& start, LogPos position) {
        if (start.build != build_)
            log_warning("build {} recorded this log, build {} replays it: they may compute differently",
                        start.build.version, build_.version);
        machine_ = TRY(factory_.create(start.configuration, options_.engine, *this, ram_bytes_));
        if (options_.disturbed) disturber_ = std::make_unique<Disturber>(*machine_);
        position_ = position;
        if (start.origin == record::Origin::kFreshBoot) make_replayer({});
        return {};
    }

    Result<void> restore(const record::SnapshotPiece& piece) {
        snapshot_.insert(snapshot_.end(), piece.bytes.begin(), piece.bytes.end());
        if (!piece.last) return {};
        make_replayer(TRY(drive::load_state(*machine_, snapshot_)));
        snapshot_ = Bytes();
        return {};
    }

    void make_replayer(const drive::DriverCounts& counts) {
        replayer_ = std::make_unique<drive::Replayer>(*machine_, ram_bytes_, position_, counts, aborted_);
    }

    Result<void> apply(const record::EntryBatch& batch) {
        for (const record::Entry& entry : batch.entries) {
            if (complete_) return {};  // only the end of the file is wanted
            drive::ReplayResult result = run_to_stops(std::min(entry.icount, options_.until));
            over_ = result == drive::ReplayResult::kDone && entry.icount > options_.until;
            if (over_) return {};
            if (result == drive::ReplayResult::kDone) result = replayer_->apply(entry);
            if (result == drive::ReplayResult::kDone) continue;
            complete_ = result == drive::ReplayResult::kPowerOff || result == drive::ReplayResult::kEnded;
            over_ = !complete_;
        }
        return {};
    }

    /// Stops at every stop before `icount`, and at `until` if that comes first.
    drive::ReplayResult run_to_stops(Icount icount) {
        while (next_stop_ < options_.stops.size() && options_.stops[next_stop_] < icount) {
            Icount stop = options_.stops[next_stop_++];
            if (stop < machine_->icount()) continue;
            drive::ReplayResult result = replayer_->run_to(stop);
            if (result != drive::ReplayResult::kDone) return result;
            if (options_.stopped) options_.stopped(*machine_);
        }
        return icount == options_.until ? replayer_->run_to(icount) : drive::ReplayResult::kDone;
    }

    ReplayReport report() {
        ReplayReport report;
        report.entries = replayer_->position();
        report.icount = machine_->icount();
        report.checkpoints = replayer_->checkpoints();
        report.divergence = replayer_->divergence();
        report.hash = machine_->hash();
        report.engine = machine_->engine_report();
        report.complete = complete_;
        if (options_.stopped) options_.stopped(*machine_);
        return report;
    }

    void output(bus::Output output) override {
        if (replayer_) replayer_->count_output();
        const auto* printed = output.as<bus::ConsoleBytes>();
        if (printed && options_.console) options_.console(printed->bytes);
    }

    MachineFactory& factory_;
    const ReplayOptions& options_;
    const std::atomic<bool>& aborted_;
    std::unique_ptr<machine::Machine> machine_;
    std::unique_ptr<Disturber> disturber_;  // before the machine goes, its thread must end
    std::unique_ptr<drive::Replayer> replayer_;
    record::BuildIdentity build_;  ///< this one
    uint64_t ram_bytes_ = 0;
    LogPos position_;
    Bytes snapshot_;
    size_t next_stop_ = 0;
    bool over_ = false;
    bool complete_ = false;
};

}  // namespace

Result<ReplayReport> replay_file(const std::string& path, MachineFactory& factory,
                                 const ReplayOptions& options, const std::atomic<bool>& aborted) {
    return FileReplay(factory, options, aborted).run(path);
}

}  // namespace lockstep::vmm
