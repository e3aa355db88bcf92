// SPDX-License-Identifier: Apache-2.0
// lockstep debug: gdb walks about in a recording, or in a copy of a VM that runs.
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <optional>

#include "debug/debug_server.h"
#include "host/runtime_folder.h"
#include "lockstep/commands.h"

namespace lockstep {

namespace {

constexpr const char* kSomePort = "127.0.0.1:0";

struct Settings {
    debug::DebugOptions options;
    std::string runtime;
};

/// A file in the VM's own folder, to which its process may always write. It is gone as soon as it needn't have a name.
class CopyOfVm {
  public:
    CopyOfVm(const Settings& settings) : path_(name_for(settings)) {
        take_snapshot(settings.runtime, settings.options.path, path_);
    }
    ~CopyOfVm() { ::unlink(path_.c_str()); }
    CopyOfVm(const CopyOfVm&) = delete;
    CopyOfVm& operator=(const CopyOfVm&) = delete;
    const std::string& path() const { return path_; }

  private:
    static std::string name_for(const Settings& settings) {
        return fmt::format("{}/{}/debugged.{}", settings.runtime, settings.options.path, ::getpid());
    }
    std::string path_;
};

void debug_recording(Settings settings, vmm::MachineFactory& factory) {
    debug::DebugOptions& options = settings.options;
    std::optional<CopyOfVm> copy;
    bool runs = !std::filesystem::exists(options.path) &&
                host::RuntimeFolder::find(settings.runtime, options.path).ok();
    if (runs) options.path = copy.emplace(settings).path();
    options.opened = [&copy] { copy.reset(); };
    if (options.listen.empty() && ::isatty(STDIN_FILENO)) options.listen = kSomePort;
    if (options.listen.empty()) std::signal(SIGINT, SIG_IGN);  // meant for gdb, which tells of it
    options.listening = [](const std::string& address) {
        fmt::print("gdb may come; there: target remote {}\n", address);
        std::fflush(stdout);
    };
    options.timeline.player.engine.forks = true;
    value_or_leave(debug::serve_debuggers(factory, options));
}

}  // namespace

void add_debug_command(CLI::App& program, vmm::MachineFactory& factory) {
    auto settings = std::make_shared<Settings>();
    debug::DebugOptions* options = &settings->options;
    CLI::App* command =
        program.add_subcommand("debug", "Let gdb look at a recording, forwards and backwards");
    command
        ->add_option("recording", options->path,
                     "a file that `lockstep record` wrote; or the name of a VM that runs here: a copy of it, "
                     "as it is now")
        ->required();
    command->add_option(
        "--listen", options->listen,
        "address:port for gdb's `target remote` (else any port of 127.0.0.1, or the other end of "
        "`target remote | lockstep debug FILE`); whoever reaches it reads the guest's memory");
    command->add_option("--copies", options->timeline.copies, "of the machine, to go back to, at most (64)")
        ->check(CLI::Range(2, 1000));
    command->add_option("--distance", options->timeline.distance, "instructions between two of them at first")
        ->check(CLI::Range(1000, 1'000'000'000));
    command->add_flag("--any-build", options->timeline.player.any_build,
                      "of another build's recording as well");
    add_runtime_option(*command, settings->runtime);
    command->callback([settings, &factory] { debug_recording(*settings, factory); });
}

}  // namespace lockstep
