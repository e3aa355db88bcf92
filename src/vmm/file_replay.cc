// SPDX-License-Identifier: Apache-2.0
#include "vmm/file_replay.h"

#include <chrono>
#include <optional>
#include <thread>

#include "host/random.h"
#include "vmm/log_player.h"

namespace lockstep::vmm {

namespace {

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

class FileReplay {
  public:
    FileReplay(LogPlayer& player, const ReplayOptions& options) : player_(player), options_(options) {}

    ReplayReport run() {
        std::optional<Disturber> disturber;
        if (options_.disturbed) disturber.emplace(player_.machine());
        while (!over_) {
            const record::Entry* entry = player_.next();
            if (!entry) break;
            if (complete_)
                player_.skip();  // only the end of the file is wanted
            else
                apply(*entry);
        }
        return report();
    }

  private:
    void apply(const record::Entry& entry) {
        drive::ReplayResult result = run_to_stops(std::min(entry.icount, options_.until));
        over_ = result == drive::ReplayResult::kDone && entry.icount > options_.until;
        if (over_) return;
        if (result == drive::ReplayResult::kDone) result = player_.apply();
        if (result == drive::ReplayResult::kDone) return;
        complete_ = result == drive::ReplayResult::kPowerOff || result == drive::ReplayResult::kEnded;
        over_ = !complete_;
    }

    /// Stops at every stop before `icount`, and at `until` if that comes first.
    drive::ReplayResult run_to_stops(Icount icount) {
        drive::Replayer& replayer = player_.replayer();
        while (next_stop_ < options_.stops.size() && options_.stops[next_stop_] < icount) {
            Icount stop = options_.stops[next_stop_++];
            if (stop < player_.machine().icount()) continue;
            drive::ReplayResult result = replayer.run_to(stop);
            if (result != drive::ReplayResult::kDone) return result;
            if (options_.stopped) options_.stopped(player_.machine());
        }
        return icount == options_.until ? replayer.run_to(icount) : drive::ReplayResult::kDone;
    }

    ReplayReport report() {
        machine::Machine& machine = player_.machine();
        ReplayReport report;
        report.entries = player_.replayer().position();
        report.icount = machine.icount();
        report.checkpoints = player_.replayer().checkpoints();
        report.divergence = player_.replayer().divergence();
        report.hash = machine.hash();
        report.engine = machine.engine_report();
        report.departures = machine.departures();
        report.problem = player_.problem();
        report.complete = complete_ && report.problem.empty();
        if (options_.stopped) options_.stopped(machine);
        return report;
    }

    LogPlayer& player_;
    const ReplayOptions& options_;
    size_t next_stop_ = 0;
    bool over_ = false;
    bool complete_ = false;
};

}  // namespace

Result<ReplayReport> replay_file(const std::string& path, MachineFactory& factory,
                                 const ReplayOptions& options, const std::atomic<bool>& aborted) {
    LogPlayer::Options how{options.engine, options.any_build, options.console};
    std::unique_ptr<LogPlayer> player = TRY(LogPlayer::open(path, factory, how, aborted));
    return FileReplay(*player, options).run();
}

}  // namespace lockstep::vmm
