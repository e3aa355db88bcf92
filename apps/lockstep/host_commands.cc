// SPDX-License-Identifier: Apache-2.0
// lockstep serve, and the process that it starts for each connection.
#include <unistd.h>

#include <csignal>

#include "base/log.h"
#include "control/actions.h"
#include "control/config.h"
#include "control/host_config.h"
#include "host/control_socket.h"
#include "host/files.h"
#include "host/identity.h"
#include "host/runtime_folder.h"
#include "host/signals.h"
#include "keeper/vm_keeper.h"
#include "lockstep/commands.h"
#include "vmm/host_daemon.h"

namespace lockstep {

namespace {

struct ServeOptions {
    std::string listen;
    std::string runtime;
    vmm::LinkSecurity security;
};

/// VM processes read it as their user, for each link anew.
void share_identity(const vmm::ConfinementRules& rules, const vmm::LinkSecurity& security) {
    if (!rules.wanted || security.kind != vmm::Security::kTls || ::geteuid() != 0) return;
    auto user = host::find_service_user(rules.user);
    if (user) value_or_leave(host::share_identity(security.folder, user->group));
}

void serve(const ServeOptions& options) {
    value_or_leave(host::make_runtime_base(options.runtime));
    control::HostConfig config = value_or_leave(control::load_host_config());
    std::string listen = options.listen.empty() ? config.listen : options.listen;
    if (listen.empty())
        leave_with(kUsage,
                   fmt::format("say where to listen, by `--listen` or by the key listen of [host] in {}",
                               config.allowances.file));
    share_identity(config.confinement, options.security);
    auto loop = value_or_leave(host::EventLoop::create());
    std::unique_ptr<vmm::HostDaemon> daemon;
    host::SignalSource signals(*loop, {SIGINT, SIGTERM, SIGHUP, SIGCHLD}, [&](int number) {
        if (number == SIGCHLD)
            daemon->collect_children();
        else
            loop->stop();
    });
    daemon = value_or_leave(vmm::HostDaemon::create(*loop, {listen, options.runtime, options.security}));
    if (options.security.kind == vmm::Security::kInsecure)
        log_warning("INSECURE: whoever reaches {} is believed; leave `--insecure` to laboratories",
                    daemon->address().text());
    log_info("this host takes backups at {}", daemon->address().text());
    keeper::KeeperOptions kept{options.runtime, control::vm_folder(), daemon->address().text(), {}};
    if (options.security.kind == vmm::Security::kInsecure) kept.run_options.emplace_back("--insecure");
    auto keeper = value_or_leave(keeper::VmKeeper::create(*loop, kept));
    auto control = value_or_leave(
        host::ControlServer::create(*loop, keeper::daemon_socket(options.runtime),
                                    [&keeper](const host::Json& request, host::ControlServer::Reply reply) {
                                        reply(keeper::answer_keeper_request(*keeper, request));
                                    }));
    loop->run();
}

struct BackupOptions {
    int connection = -1;
    int stranger = -1;
    std::string host;
    std::string runtime;
    vmm::LinkSecurity security;
};

void serve_as_backup(const BackupOptions& options, vmm::MachineFactory& factory) {
    std::signal(SIGPIPE, SIG_IGN);  // whoever connected may be gone at any time
    auto loop = value_or_leave(host::EventLoop::create());
    vmm::VmProcess* vm = nullptr;
    unsigned signals_seen = 0;
    std::optional<host::SignalSource> signals;
    auto on_signal = [&](int) {
        if (!vm) return loop->stop();
        bool runs_here = vm->status().live_ms > 0;
        if (runs_here && signals_seen++ == 0)
            (void)vm->power(record::PowerAction::kButton);
        else
            vm->switch_off("a signal came");
    };
    std::unique_ptr<host::ControlServer> control;
    std::optional<vmm::Ending> ending;
    auto started = [&](vmm::VmProcess& process) {
        vm = &process;
        auto server =
            host::ControlServer::create(*loop, process.folder().control_socket(),
                                        [vm](const host::Json& request, host::ControlServer::Reply reply) {
                                            reply(control::answer_request(*vm, request));
                                        });
        if (server)
            control = server.take();
        else
            log_error("{}", server.error().message());
    };
    vmm::Environment environment;
    environment.runtime_base = options.runtime;
    environment.this_host = options.host;
    environment.security = options.security;
    environment.allowances = control::load_allowances;
    environment.confinement = std::make_shared<vmm::Confinement>(
        value_or_leave(control::load_host_config()).confinement, options.runtime, options.security.folder);
    // Until then a signal just ends this process. What waits for signals is a thread, and must be confined, too.
    environment.before_threads = [&](const vmm::VmSettings& settings) {
        environment.confinement->begin(settings);
        signals.emplace(*loop, std::vector<int>{SIGINT, SIGTERM, SIGHUP}, on_signal);
    };
    auto backup = value_or_leave(vmm::BackupProcess::create(
        *loop, factory, host::FileDescriptor(options.connection), host::FileDescriptor(options.stranger),
        environment,
        [&](const vmm::Ending& how) {
            ending = how;
            loop->stop();
        },
        started));
    loop->run();
    control.reset();
    if (!ending) leave(kDone);
    if (vm) log_info("VM {}: {}", vm->status().name, ending->sentence);
    if (vm) vm->leave_ending(*ending);
    leave(status_of(*ending));
}

}  // namespace

void add_host_commands(CLI::App& program, vmm::MachineFactory& factory) {
    auto options = std::make_shared<ServeOptions>();
    CLI::App* command = program.add_subcommand(
        "serve", "The daemon of this host: looks after its VMs, and takes other hosts' backups");
    command->add_option("--listen", options->listen,
                        "address:port, as in protection.hosts (as host.toml says)");
    add_security_options(*command, options->security);
    add_runtime_option(*command, options->runtime);
    command->callback([options] { serve(*options); });

    auto backup = std::make_shared<BackupOptions>();
    CLI::App* process = program.add_subcommand("backup", "One backup; started by `serve`");
    process->group("");
    process->add_option("--connection", backup->connection)->required();
    process->add_option("--stranger", backup->stranger)->required();
    process->add_option("--host", backup->host)->required();
    add_security_options(*process, backup->security);
    add_runtime_option(*process, backup->runtime);
    process->callback([backup, &factory] { serve_as_backup(*backup, factory); });
}

}  // namespace lockstep
