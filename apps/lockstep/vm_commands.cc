// SPDX-License-Identifier: Apache-2.0
// Commands for a running VM: each is a view of one action (control/actions.h).
#include <chrono>
#include <filesystem>
#include <thread>

#include "control/actions.h"
#include "host/console.h"
#include "host/control_socket.h"
#include "host/runtime_folder.h"
#include "lockstep/commands.h"

namespace lockstep {

namespace {

using control::Json;

constexpr std::chrono::milliseconds kPauseBetweenLooks(50);

struct VmOptions {
    std::string vm;
    std::string runtime;
    bool json = false;
    control::Counters counters = control::Counters::kLeftOut;
    std::vector<std::string> arguments;
};

Json ask(const VmOptions& options, const Json& request) {
    value_or_leave(host::RuntimeFolder::find(options.runtime, options.vm));
    return value_or_leave(
        host::control_request(host::RuntimeFolder::control_socket_of(options.runtime, options.vm), request));
}

void print_status(const VmOptions& options) {
    std::vector<std::string> names = {options.vm};
    if (options.vm.empty()) names = host::RuntimeFolder::running(options.runtime);
    if (names.empty()) fmt::print("no VM runs on this host (by {})\n", options.runtime);
    for (const std::string& name : names) {
        VmOptions one = options;
        one.vm = name;
        Json status = ask(one, {{"action", "status"}});
        if (options.json)
            fmt::print("{}\n", status.dump());
        else
            fmt::print("{}", control::status_text(status, options.counters));
    }
}

void attach_console(const VmOptions& options) {
    std::string place = ask(options, {{"action", "console"}})["console"].get<std::string>();
    fmt::print(stderr, "attached to {}; Ctrl-] leaves\n", place);
    if (Result<void> attached = host::attach_terminal(place); !attached)
        leave_with(kFailed, attached.error().message());
}

/// The VM's process has another working directory.
std::string meant_here(const control::Argument& argument, const std::string& text) {
    return argument.name == "path" ? std::filesystem::absolute(text).string() : text;
}

/// An action that has only begun is over when this returns.
void wait_for_end(const VmOptions& options, const control::Action& action) {
    if (action.name != "snapshot") return;
    std::string outcome(vmm::kSnapshotUnderWay);
    while (outcome == vmm::kSnapshotUnderWay) {
        std::this_thread::sleep_for(kPauseBetweenLooks);
        outcome = ask(options, {{"action", "status"}})["snapshot"].get<std::string>();
    }
    if (!outcome.empty()) leave_with(kFailed, outcome);
}

/// The command that carries out an action, with its arguments as positional ones.
void add_action_command(CLI::App& program, const control::Action& action) {
    auto options = std::make_shared<VmOptions>();
    options->arguments.resize(action.arguments.size());
    CLI::App* command = program.add_subcommand(std::string(action.name), std::string(action.meaning));
    command->add_option("vm", options->vm, "the VM's name")->required();
    for (size_t i = 0; i < action.arguments.size(); ++i) {
        CLI::Option* option =
            command->add_option(std::string(action.arguments[i].name), options->arguments[i],
                                std::string(action.arguments[i].meaning));
        if (action.arguments[i].required) option->required();
    }
    add_runtime_option(*command, options->runtime);
    command->callback([options, &action] {
        Json request = {{"action", action.name}};
        for (size_t i = 0; i < action.arguments.size(); ++i)
            if (!options->arguments[i].empty())
                request[action.arguments[i].name] = meant_here(action.arguments[i], options->arguments[i]);
        Json answer = ask(*options, request);
        wait_for_end(*options, action);
        fmt::print("{}\n", answer.value("done", answer.dump()));
    });
}

}  // namespace

void take_snapshot(const std::string& runtime, const std::string& vm, const std::string& path) {
    VmOptions options;
    options.runtime = runtime;
    options.vm = vm;
    ask(options, {{"action", "snapshot"}, {"path", std::filesystem::absolute(path).string()}});
    wait_for_end(options, *control::find_action("snapshot"));
}

void add_vm_commands(CLI::App& program) {
    for (const control::Action& action : control::actions())
        if (action.name != "status" && action.name != "console") add_action_command(program, action);

    auto status_options = std::make_shared<VmOptions>();
    CLI::App* status = program.add_subcommand("status", "Show the VMs of this host, or one of them");
    status->add_option("vm", status_options->vm, "the VM's name; without it, all that run here");
    status->add_flag("--json", status_options->json, "for programs: a JSON object a line");
    status->add_flag_callback(
        "--counters", [status_options] { status_options->counters = control::Counters::kShown; },
        "also figures of the log and the engine");
    add_runtime_option(*status, status_options->runtime);
    status->callback([status_options] { print_status(*status_options); });

    auto console_options = std::make_shared<VmOptions>();
    CLI::App* console = program.add_subcommand("console", "Attach to a VM's console");
    console->add_option("vm", console_options->vm, "the VM's name")->required();
    add_runtime_option(*console, console_options->runtime);
    console->callback([console_options] { attach_console(*console_options); });
}

}  // namespace lockstep
