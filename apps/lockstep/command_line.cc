// SPDX-License-Identifier: Apache-2.0
#include "lockstep/command_line.h"

#include <iostream>

#include "control/actions.h"
#include "control/config.h"
#include "host/identity.h"
#include "host/limits.h"
#include "host/runtime_folder.h"
#include "lockstep/commands.h"
#include "lockstep/manual.h"
#include "log_command/log_command.h"
#include "vmm/cpu_choice.h"
#include "vmm/start_check.h"
#include "vmm/version.h"

namespace lockstep {

namespace {

constexpr ExitStatusRow kExitStatuses[] = {
    {kDone, "done. Of `run`: the guest is off, or goes on elsewhere as the operator wanted"},
    {kFailed,
     "it failed; one sentence on standard error names the thing and the remedy. Of `record`: or the VM ran "
     "to its end "
     "and the recording isn't whole"},
    {kUsage, "the command line makes no sense"},
    {kLost, "of `run`: this side was stopped because the other side owns the guest"},
    {kDiverged, "of `replay`: the replay differed from its log"},
    {kNotNow, "the action isn't possible in the VM's state; the sentence says what to do first"},
    {kNotPermitted, "not permitted: the VM belongs to another user"},
};

struct CheckOptions {
    std::string config;
    std::string host;
    bool json = false;
    vmm::LinkSecurity security;
};

/// The file, and what this host would have against running it.
void check(const CheckOptions& options, vmm::MachineFactory& factory) {
    std::string path = control::find_config(options.config);
    vmm::VmSettings settings = value_or_leave(control::load_config(path));
    vmm::StartCheck found = vmm::check_start(settings, options.host, options.security, factory);
    std::vector<std::string>& obstacles = found.obstacles;
    if (Result<void> arbiter = vmm::check_arbiter(settings); !arbiter)
        obstacles.push_back(arbiter.error().message());
    for (const std::string& obstacle : obstacles) fmt::print(stderr, "lockstep: {}\n", obstacle);
    std::string_view model = x86::name_of(vmm::cpu_model(found.settings));
    if (options.json)
        fmt::print("{}\n", control::Json{{"config", path},
                                         {"vm", settings.name},
                                         {"good", obstacles.empty()},
                                         {"obstacles", obstacles},
                                         {"cpu", model}}
                               .dump());
    if (!obstacles.empty()) leave(kFailed);
    if (options.json) return;
    fmt::print("{}: VM {}: good; its CPU model is {} (this host offers up to {}; AVX-512 is hidden)\n", path,
               settings.name, model, x86::name_of(host::best_cpu_model()));
}

void list_keys(bool as_json) {
    control::Json list = control::Json::array();
    for (const control::ConfigKey& key : control::config_keys()) {
        list.push_back({{"section", key.section},
                        {"key", key.name},
                        {"value", key.kind},
                        {"meaning", key.meaning},
                        {"required", key.required}});
        if (!as_json)
            fmt::print("{:11} {:14} {:28} {}{}\n", key.section, key.name, key.kind, key.meaning,
                       key.required ? " [required]" : "");
    }
    if (as_json) fmt::print("{}\n", control::Json{{"keys", list}}.dump());
}

void add_config_commands(CLI::App& program, vmm::MachineFactory& factory) {
    auto options = std::make_shared<CheckOptions>();
    CLI::App* command = program.add_subcommand(
        "check", "Check a configuration file, and whether its VM can run on this host");
    command
        ->add_option("config", options->config,
                     "the VM's configuration file, or its name in the folder of them")
        ->required();
    command->add_option("--host", options->host,
                        "this host's entry in protection.hosts (else found by its address)");
    add_json_option(*command, options->json);
    add_security_options(*command, options->security);
    command->callback([options, &factory] { check(*options, factory); });

    CLI::App* keys = program.add_subcommand("config-keys", "List the keys of a configuration file");
    auto json = std::make_shared<bool>(false);
    add_json_option(*keys, *json);
    keys->callback([json] { list_keys(*json); });
}

std::string name_of(const CLI::App& app) {
    return app.get_parent() ? name_of(*app.get_parent()) + " " + app.get_name() : app.get_name();
}

std::string no_such_command(const CLI::App& app, const std::string& word) {
    std::vector<std::string> names;
    for (const CLI::App* command : app.get_subcommands({}))
        if (!command->get_group().empty()) names.push_back(command->get_name());
    std::vector<std::string_view> known(names.begin(), names.end());
    std::string near = control::nearest_word(word, known);
    return fmt::format("there is no command \"{}\"{}", word,
                       near.empty() ? "" : fmt::format(", did you mean \"{}\"?", near));
}

/// One sentence for a command line that makes no sense.
std::string usage_sentence(const CLI::App* program, const CLI::Error& problem) {
    const CLI::App* app = program;
    while (!app->get_subcommands().empty()) app = app->get_subcommands().front();
    std::string what = problem.what();
    bool wants_command = app->get_require_subcommand_min() > 0;
    if (wants_command && app->remaining_size() > 0)
        what = no_such_command(*app, app->remaining().front());
    else if (wants_command)
        what = "name a command";
    return fmt::format("lockstep: {}; see `{} --help`\n", what, name_of(*app));
}

}  // namespace

void leave_with(ExitStatus status, const std::string& sentence) {
    fmt::print(stderr, "lockstep: {}\n", sentence);
    leave(status);
}

std::span<const ExitStatusRow> exit_statuses() { return kExitStatuses; }

void add_json_option(CLI::App& command, bool& json) {
    command.add_flag("--json", json, "for programs: the answer as a JSON object");
}

void add_runtime_option(CLI::App& command, std::string& base) {
    base = host::default_runtime_base();
    command.add_option("--runtime", base, "folder of running VMs")->envname("LOCKSTEP_RUNTIME");
}

void add_security_options(CLI::App& command, vmm::LinkSecurity& security) {
    security.folder = host::cluster_folder();
    command
        .add_flag_callback(
            "--insecure", [&security] { security.kind = vmm::Security::kInsecure; },
            "for a laboratory: links in the clear, and whoever reaches a port is believed")
        ->envname("LOCKSTEP_INSECURE");
}

ExitStatus status_of(const vmm::Ending& ending) {
    using enum vmm::Ending::Kind;
    switch (ending.kind) {
        case kPoweredOff:
        case kHandedOver:
        case kDismissed:
            return kDone;
        case kLost:
            return lockstep::kLost;
        case kFailed:
            return lockstep::kFailed;
    }
    return lockstep::kFailed;
}

int run_command_line(int argc, char** argv, vmm::MachineFactory& factory) {
    CLI::App program("Lockstep: fault-tolerant virtual machines by deterministic replay", "lockstep");
    program.set_version_flag("--version", std::string(vmm::kVersion));
    program.require_subcommand(1);
    program.failure_message(usage_sentence);
    log_to_standard_error(false);
    add_run_commands(program, factory);
    add_replay_command(program, factory);
    add_debug_command(program, factory);
    add_host_commands(program, factory);
    add_api_command(program);
    add_keeper_commands(program);
    add_evacuate_commands(program);
    add_cluster_commands(program);
    add_vm_commands(program);
    add_log_commands(program);
    add_config_commands(program, factory);
    add_manual_commands(program);
    try {
        program.parse(argc, argv);
    } catch (const CLI::RuntimeError& end) {
        return end.get_exit_code();
    } catch (const CLI::ParseError& problem) {
        return program.exit(problem) == 0 ? kDone : kUsage;
    }
    return kDone;
}

}  // namespace lockstep
