// SPDX-License-Identifier: Apache-2.0
// Kills the owner of a protected guest after every entry of a window of its log, and looks whether the continuation
// agrees with what was let out.
//
//     Scene: owner A --log--> backup B, client C at work        all in one process, in virtual time, from a seed
//                |
//     entry k    +--fork--> A dies at its edge: the log ends with entry k, and all is out that the output rule allows
//                +--fork--> A dies at once: B has what it got of the messages that were under way
//                |              B goes live, C's work goes on and ends; the judge looks
//     entry k+1  +--fork--> ...
//
// The judge: each output that A has let out is among those of B's replay, the same; the replay has found its state hashes
// equal; the load client has lost no connection, answer, byte or acknowledged write; the disk holds what the
// guest's history says and nothing else.
//
// With a planted bug the sweep succeeds where it finds something wrong.
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <map>

#include "judge.h"

namespace lockstep::crash_points {
namespace {

struct Options {
    SceneFiles files;
    uint64_t entries = 2000;
    uint64_t first = 0;
    unsigned jobs = 2;
    uint64_t seed = 1;
    std::string planted, only;
};

const std::map<std::string, replica::PlantedBug> kPlanted{
    {"release-early", replica::PlantedBug::kReleaseEarly},
    {"ack-early", replica::PlantedBug::kAckEarly},
    {"forget-tail", replica::PlantedBug::kForgetTail},
};

/// How long a child may take, s: one that hangs is a failure.
constexpr unsigned kLongestChild = 300;
constexpr size_t kConsoleTail = 400;  ///< bytes that are shown of a console

class Sweep {
  public:
    explicit Sweep(const Options& options) : options_(options), scene_(options.files, options.seed) {
        void* shared =
            mmap(nullptr, sizeof(Tally), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        tally_ = new (shared) Tally;
    }

    int run() {
        auto begun = std::chrono::steady_clock::now();
        plant();
        if (!scene_.set()) {
            fmt::print("the scene can't be set: {}\n{}{}", scene_.world().failure(), said(), consoles());
            return 1;
        }
        auto since = [&] {
            return std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
        };
        fmt::print("the scene is set after {:.0f} s; the log is at {}\n", since(), position());
        std::fflush(stdout);
        first_ = position() + options_.first;
        last_ = first_ + options_.entries;
        Micros window_begins = scene_.world().timeline().now();
        scene_.world().on_entry_comes = [this](LogPos entry) { entry_comes(entry.value()); };
        scene_.world().on_entry_told = [this](LogPos) { entry_told(); };
        bool whole = scene_.wait("the end of the window", 600'000 * kMillisecond,
                                 [this] { return death_ || position() >= last_ || found_enough(); });
        if (death_) _exit(end_child());
        while (!children_.empty()) reap();
        if (!whole) {
            fmt::print("the owner and its backup fail by themselves: {}\n{}{}", scene_.world().failure(),
                       said(), consoles());
            return 1;
        }
        report((scene_.world().timeline().now() - window_begins) / kMillisecond, since());
        return (failures_ == 0) == options_.planted.empty() ? 0 : 1;
    }

  private:
    uint64_t position() { return scene_.owner().session().replica()->status(0).appended.value(); }
    bool found_enough() const { return !options_.planted.empty() && failures_ != 0; }

    void plant() {
        if (options_.planted.empty()) return;
        for (Side* side : {&scene_.owner(), &scene_.backup()})
            side->hooks().planted_bug = kPlanted.at(options_.planted);
    }

    std::string said() {
        std::string all;
        for (const std::string& sentence : scene_.world().said()) all += "    " + sentence + "\n";
        return all;
    }

    std::string consoles() {
        std::string all;
        for (Side* side : {&scene_.owner(), &scene_.backup(), &scene_.client()}) {
            const std::string& console = scene_.world().console(*side);
            all += fmt::format("    console of {}: ...{}\n", side->name(),
                               console.substr(console.size() - std::min(console.size(), kConsoleTail)));
        }
        return all;
    }

    // --- In the parent ---

    void entry_comes(uint64_t entry) {
        if (death_ || entry < first_ || entry >= last_ || found_enough()) return;
        for (Death::Way way : {Death::Way::kEdge, Death::Way::kAtOnce}) {
            Death death{way, entry, options_.seed};
            if (!options_.only.empty() && options_.only != name_of(death)) continue;
            if (fork_for(death)) return;
        }
    }

    std::string name_of(const Death& death) const {
        return fmt::format("{}:{}", death.entry - first_, name_of(death.way));
    }
    static const char* name_of(Death::Way way) { return way == Death::Way::kEdge ? "edge" : "at-once"; }

    /// True in the child.
    bool fork_for(const Death& death) {
        while (children_.size() >= options_.jobs) reap();
        std::fflush(stdout);
        pid_t child = fork();
        if (child < 0) throw std::runtime_error("fork fails: not enough memory for another child");
        if (child > 0) {
            children_[child] = death;
            return false;
        }
        alarm(kLongestChild);
        for (Side* side : {&scene_.owner(), &scene_.backup(), &scene_.client()})
            side->guest().machine()->after_fork();
        death_ = death;
        if (death.way == Death::Way::kEdge) scene_.owner().hooks().sends_each_entry = true;
        return true;
    }

    void reap() {
        int status = 0;
        pid_t child = waitpid(-1, &status, 0);
        Death death = children_.at(child);
        children_.erase(child);
        ++deaths_;
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return;
        ++failures_;
        if (WIFSIGNALED(status))
            fmt::print("{}: the child is ended by signal {}\n", name_of(death), WTERMSIG(status));
        fmt::print("    to repeat: tests/crash_points/run --seed {} --first {} --entries {} --only {}{}\n",
                   options_.seed, options_.first, options_.entries, name_of(death),
                   options_.planted.empty() ? "" : " --planted " + options_.planted);
        std::fflush(stdout);
    }

    void report(Micros window_ms, double seconds) {
        fmt::print(
            "entries {} to {} of the log, {} ms of the guest's time; {} deaths in {:.0f} s, {} failed\n",
            first_, last_ - 1, window_ms, deaths_, seconds, failures_);
        fmt::print(
            "    {} had let out an output of their last entry; {} outputs and {} writes to the disk were "
            "compared, "
            "{} requests issued again, {} state hashes equal; the load did {} operations\n",
            tally_->at_edge.load(), tally_->outputs.load(), tally_->writes.load(),
            tally_->issued_again.load(), tally_->hashes.load(), tally_->operations.load());
    }

    // --- In a child ---

    void entry_told() {
        if (death_) scene_.owner().guest().freeze();
    }

    int end_child() {
        Judge judge(scene_, *death_, *tally_);
        if (judge.all_is_well()) return 0;
        fmt::print("{}: {}\n{}{}", name_of(*death_), scene_.world().failure(), said(),
                   options_.only.empty() ? "" : consoles());
        std::fflush(stdout);
        return 1;
    }

    Options options_;
    Scene scene_;
    Tally* tally_;
    uint64_t first_ = 0, last_ = 0;  ///< entries of the window
    std::map<pid_t, Death> children_;
    uint64_t deaths_ = 0, failures_ = 0;
    std::optional<Death> death_;  ///< a child's
};

}  // namespace
}  // namespace lockstep::crash_points

int main(int argc, char** argv) {
    using namespace lockstep::crash_points;
    Options options;
    std::vector<std::string> planted;
    for (const auto& [name, bug] : kPlanted) planted.push_back(name);
    CLI::App app("Kills the owner of a protected guest after every entry of a window of its log.",
                 "crash_point_sweep");
    app.add_option("--image", options.files.image, "folder of the guest image")->required();
    app.add_option("--initrd", options.files.initrd, "initial RAM disk")->required();
    app.add_option("--load-client", options.files.load_client, "a load client that needs no libraries")
        ->required();
    app.add_option("--entries", options.entries, "entries of the window")->capture_default_str();
    app.add_option("--first", options.first, "entries before it, under load")->capture_default_str();
    app.add_option("--jobs", options.jobs, "children at a time")->capture_default_str();
    app.add_option("--seed", options.seed, "what is left to chance")->capture_default_str();
    app.add_option("--only", options.only, "one death: ENTRY:edge or ENTRY:at-once");
    app.add_option("--planted", options.planted, "a bug that is to be found")->check(CLI::IsMember(planted));
    CLI11_PARSE(app, argc, argv);
    return Sweep(options).run();
}
