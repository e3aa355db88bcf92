// SPDX-License-Identifier: Apache-2.0
// lockstep replay
#include <unistd.h>

#include <algorithm>
#include <atomic>

#include "control/config.h"
#include "lockstep/commands.h"
#include "vmm/file_replay.h"

namespace lockstep {

namespace {

struct ReplaySettings {
    std::string path;
    std::vector<uint64_t> stops;
    uint64_t until = ~uint64_t{0};
    vmm::ReplayOptions options;
    bool console = false;
    bool describe = false;
    bool counters = false;
};

const std::atomic<bool> kNeverAborted = false;

void show(ByteSpan bytes) {
    while (!bytes.empty()) {
        ssize_t written = ::write(STDOUT_FILENO, bytes.data(), bytes.size());
        if (written <= 0) return;
        bytes = bytes.subspan(static_cast<size_t>(written));
    }
}

void set_code_cache(const std::string& text, translate::EngineOptions& engine) {
    Result<uint64_t> bytes = control::parse_size(text);
    if (!bytes) leave_with(kUsage, fmt::format("--code-cache is \"{}\": {}", text, bytes.error().message()));
    if (bytes.value() < (1 << 20) || bytes.value() > (2ull << 30))
        leave_with(kUsage,
                   fmt::format("--code-cache is \"{}\", but must be from \"1 MiB\" to \"2 GiB\"", text));
    engine.code_cache_bytes = bytes.value();
}

void print_report(const std::string& path, const vmm::ReplayReport& report) {
    fmt::print(stderr, "{}: {} entries and {} instructions replayed, {} state hashes equal{}\n", path,
               report.entries.value(), report.icount.value(), report.checkpoints,
               report.complete ? ", to the log's end" : "");
    fmt::print(stderr, "final state: registers {:016x} memory {:016x} devices {:016x}\n",
               report.hash.registers, report.hash.memory, report.hash.devices);
}

void print_counters(const vmm::ReplayReport& report) {
    for (const translate::Figure& figure : translate::figures(report.engine))
        fmt::print(stderr, "{} {}\n", figure.name, figure.value);
    double millions = static_cast<double>(std::max<uint64_t>(report.icount.value(), 1)) / 1e6;
    fmt::print(stderr, "\n{:<12} {:<26} {:>12} {:>24}\n", "why", "", "times", "per million instructions");
    for (const translate::Departure& departure : report.departures)
        fmt::print(stderr, "{:<12} {:<26} {:>12} {:>24.2f}\n", departure.group, departure.name,
                   departure.times, static_cast<double>(departure.times) / millions);
}

void replay(ReplaySettings& settings, vmm::MachineFactory& factory) {
    std::ranges::sort(settings.stops);
    for (uint64_t stop : settings.stops) settings.options.stops.push_back(Icount(stop));
    settings.options.until = Icount(settings.until);
    if (settings.console) settings.options.console = show;
    if (settings.describe)
        settings.options.stopped = [](machine::Machine& machine) { fmt::print("{}\n", machine.describe()); };
    vmm::ReplayReport report =
        value_or_leave(vmm::replay_file(settings.path, factory, settings.options, kNeverAborted));
    print_report(settings.path, report);
    if (settings.counters) print_counters(report);
    if (report.divergence)
        leave_with(kDiverged, fmt::format("{}: {}", settings.path, report.divergence->sentence));
    if (!report.problem.empty()) leave_with(kFailed, report.problem);
}

}  // namespace

void add_replay_command(CLI::App& program, vmm::MachineFactory& factory) {
    auto settings = std::make_shared<ReplaySettings>();
    CLI::App* command =
        program.add_subcommand("replay", "Replay a recorded log and compare every state hash");
    command->add_option("log", settings->path, "the recorded file")->required();
    command->add_option("--stop-at", settings->stops, "stop at these instruction counts, and go on");
    command->add_option("--until", settings->until, "replay no further than this instruction count");
    command->add_flag("--disturb", settings->options.disturbed,
                      "stop the machine at random moments, which must make no difference");
    command->add_flag("--any-build", settings->options.any_build,
                      "replay the log of another build as well; a difference may then be the builds'");
    command->add_flag("--console", settings->console, "show the guest's console output");
    command->add_flag("--describe", settings->describe,
                      "print the machine's state at each stop and at the end");
    command->add_flag("--counters", settings->counters,
                      "print at the end what the engine did, and why translated code was left");
    command->add_flag("--perf-map", settings->options.engine.perf_map,
                      "list translated code in /tmp/perf-PID.map for profiles");
    command->add_option_function<std::string>(
        "--code-cache",
        [settings](const std::string& text) { set_code_cache(text, settings->options.engine); },
        "memory for translated code, as in \"8 MiB\"");
    command
        ->add_option("--block-limit", settings->options.engine.block_limit, "instructions in a block at most")
        ->check(CLI::Range(1, 4096));
    command->add_flag("!--no-chaining", settings->options.engine.chaining, "blocks return to the dispatcher");
    command->add_flag("!--no-jump-cache", settings->options.engine.jump_cache, "no cache of indirect jumps");
    command->add_flag("!--no-jump-index", settings->options.engine.jump_index,
                      "after a flush of the TLB jumps find their blocks by the dispatcher");
    command->add_flag("!--no-dead-flags", settings->options.engine.dead_flags, "keep every flag");
    command->add_flag("!--no-copied-blocks", settings->options.engine.copied_blocks,
                      "translate code anew for each address that it is mapped at");
    command->add_flag("!--no-copied-chains", settings->options.engine.copied_chains,
                      "copy each block by itself, when it is reached");
    command->add_flag("!--no-superblocks", settings->options.engine.superblocks,
                      "end each block at its first branch");
    command->add_flag("!--no-shared-lookups", settings->options.engine.shared_lookups,
                      "look up the page of each access by itself");
    command->add_flag("!--no-inline-system", settings->options.engine.inline_system,
                      "interpret system instructions");
    command->add_flag("!--no-inline-strings", settings->options.engine.inline_strings,
                      "interpret string instructions");
    command->add_flag("!--no-window", settings->options.engine.window, "no program uses the host's MMU");
    command->add_option("--window-after", settings->options.engine.window_after,
                        "instructions that a program runs before it uses the host's MMU");
    command->callback([settings, &factory] { replay(*settings, factory); });
}

}  // namespace lockstep
