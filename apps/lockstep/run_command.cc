// SPDX-License-Identifier: Apache-2.0
// lockstep run, lockstep record: a VM in this process.
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>

#include "base/log.h"
#include "control/actions.h"
#include "control/config.h"
#include "control/host_config.h"
#include "host/control_socket.h"
#include "host/files.h"
#include "host/signals.h"
#include "host/systemd_scope.h"
#include "lockstep/commands.h"

namespace lockstep {

namespace {

struct RunOptions {
    std::string config;
    std::string runtime;
    std::string host;
    std::string record_path;
    std::string from;
    vmm::LinkSecurity security;
    uint64_t hash_ms = 0;  ///< 0: as the configuration says
    bool background = false;
    bool force = false;           ///< no proof that nobody owns the VM
    bool perf_map = false;        ///< whatever the configuration says
    bool ends_on_signal = false;  ///< of `record`: a signal ends the recording and the VM
};

/// The process that goes on when a VM is started in the background, and the one that waits until it runs.
class Background {
  public:
    /// Returns in the new process alone; the old one leaves with its outcome.
    void begin() {
        int ends[2];
        if (::pipe2(ends, O_CLOEXEC) != 0)
            leave_with(kFailed, "cannot make a pipe; raise the limit of open files");
        pid_t child = ::fork();
        if (child < 0)
            leave_with(kFailed, "cannot start a process; raise the limit of processes (ulimit -u)");
        if (child > 0) wait_for(child, ends[0], ends[1]);
        ::close(ends[0]);
        ::setsid();
        started_ = host::FileDescriptor(ends[1]);
    }

    /// Opens the file that the process log goes to, while this process may.
    void open_log(const std::string& path) {
        (void)host::make_runtime_base(std::filesystem::path(path).parent_path().string());
        log_ = host::FileDescriptor(
            ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600));
        if (!log_) log_warning("{}; the VM runs without", host::file_error("write", path, errno).message());
    }

    /// The VM runs: lets the old process leave, and sends the process log to the file.
    void started() {
        int nothing = ::open("/dev/null", O_RDWR | O_CLOEXEC);
        ::dup2(nothing, STDIN_FILENO);
        ::dup2(nothing, STDOUT_FILENO);
        ::dup2(log_ ? log_.get() : nothing, STDERR_FILENO);
        char yes = 1;
        if (::write(started_.get(), &yes, 1) < 0) log_warning("nobody waits for the start of this VM");
        started_.reset();
    }

  private:
    [[noreturn]] static void wait_for(pid_t child, int read_end, int write_end) {
        ::close(write_end);
        char yes = 0;
        ssize_t got = 0;
        while ((got = ::read(read_end, &yes, 1)) < 0 && errno == EINTR) {
        }
        if (got == 1) ::_exit(kDone);
        int status = 0;
        ::waitpid(child, &status, 0);
        ::_exit(WIFEXITED(status) ? WEXITSTATUS(status) : kFailed);
    }

    host::FileDescriptor started_;
    host::FileDescriptor log_;
};

/// A signal asks for an orderly end: the first presses the power button, the second switches off.
void on_signal(vmm::VmProcess& vm, const RunOptions& options, unsigned count) {
    if (options.ends_on_signal) return vm.stop_and_end("the recording was stopped");
    if (count > 1) return vm.switch_off("a signal came twice");
    log_info("the guest's power button is pressed; the same signal again switches it off");
    if (!vm.power(record::PowerAction::kButton)) vm.switch_off("a signal came");
}

std::shared_ptr<vmm::Confinement> begin_confinement(const vmm::VmSettings& settings,
                                                    const RunOptions& options) {
    control::HostConfig host = value_or_leave(control::load_host_config());
    auto confinement =
        std::make_shared<vmm::Confinement>(host.confinement, options.runtime, options.security.folder);
    confinement->begin(settings, {options.record_path, options.from});
    return confinement;
}

vmm::Ending run_vm(vmm::MachineFactory& factory, const vmm::VmSettings& settings, const RunOptions& options,
                   Background* background) {
    host::enter_own_scope(settings.name);
    if (background) background->open_log(options.runtime + "/" + settings.name + ".log");
    // Before there is a second thread.
    std::shared_ptr<vmm::Confinement> confinement = begin_confinement(settings, options);
    auto loop = value_or_leave(host::EventLoop::create());
    std::unique_ptr<vmm::VmProcess> vm;
    unsigned signals_seen = 0;
    host::SignalSource signals(*loop, {SIGINT, SIGTERM, SIGHUP}, [&](int) {
        if (vm) on_signal(*vm, options, ++signals_seen);
    });
    std::optional<vmm::Ending> ending;
    vmm::Environment environment;
    environment.runtime_base = options.runtime;
    environment.this_host = options.host;
    environment.security = options.security;
    environment.terminal = !options.background && ::isatty(STDIN_FILENO);
    environment.record_path = options.record_path;
    environment.from = options.from;
    if (options.force) environment.caution = replica::Caution::kForce;
    if (background) environment.started = [&] { background->started(); };
    environment.confinement = confinement;
    if (environment.terminal && settings.console.kind == vmm::ConsoleKind::kTerminal)
        log_to_standard_error(true);
    vm = value_or_leave(
        vmm::VmProcess::start_owner(*loop, factory, settings, environment, [&](const vmm::Ending& how) {
            ending = how;
            loop->stop();
        }));
    auto control = value_or_leave(
        host::ControlServer::create(*loop, vm->folder().control_socket(),
                                    [&vm](const host::Json& request, host::ControlServer::Reply reply) {
                                        reply(control::answer_request(*vm, request));
                                    }));
    loop->run();
    vm->leave_ending(*ending);
    return *ending;
}

void run(vmm::MachineFactory& factory, const RunOptions& options) {
    vmm::VmSettings settings = value_or_leave(control::load_config(control::find_config(options.config)));
    if (options.hash_ms) settings.protection.hash_ms = options.hash_ms;
    if (options.perf_map) settings.engine.perf_map = true;
    Background background;
    if (options.background) background.begin();
    vmm::Ending ending = run_vm(factory, settings, options, options.background ? &background : nullptr);
    log_to_standard_error(false);
    if (ending.kind == vmm::Ending::Kind::kFailed) leave_with(kFailed, ending.sentence);
    log_info("VM {}: {}", settings.name, ending.sentence);
    leave(status_of(ending));
}

void add_common_options(CLI::App& command, RunOptions& options) {
    command
        .add_option("config", options.config,
                    "the VM's configuration file, or its name in the folder of them")
        ->required();
    command.add_option("--host", options.host,
                       "this host's entry in protection.hosts (else found by its address)");
    command.add_flag("--perf-map", options.perf_map,
                     "list translated code in /tmp/perf-PID.map for profiles");
    command.add_flag(
        "--force", options.force,
        "don't wait for proof at the arbiter that no other host owns the VM; if one does, the disks "
        "are destroyed");
    add_security_options(command, options.security);
    add_runtime_option(command, options.runtime);
}

}  // namespace

void add_run_commands(CLI::App& program, vmm::MachineFactory& factory) {
    auto options = std::make_shared<RunOptions>();
    CLI::App* run_command = program.add_subcommand("run", "Run a VM");
    add_common_options(*run_command, *options);
    run_command->add_option("--from", options->from, "go on from this file of `lockstep snapshot`");
    run_command->add_flag("--background", options->background, "return as soon as the VM runs");
    run_command->callback([options, &factory] { run(factory, *options); });

    auto record_options = std::make_shared<RunOptions>();
    record_options->ends_on_signal = true;
    CLI::App* record = program.add_subcommand("record", "Run a VM and record it from power-on to a file");
    add_common_options(*record, *record_options);
    record->add_option("log", record_options->record_path, "the file to write; it must not exist yet")
        ->required();
    record->add_option("--hash-ms", record_options->hash_ms, "time between two state hashes (1000)")
        ->check(CLI::Range(10, 3'600'000));
    record->callback([record_options, &factory] { run(factory, *record_options); });
}

}  // namespace lockstep
