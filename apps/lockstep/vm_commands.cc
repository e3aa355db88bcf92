// SPDX-License-Identifier: Apache-2.0
// Commands for a running VM: each is a view of one action (control/actions.h).
#include <unistd.h>

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

/// Leaves with the status that stands for a problem; with --json the problem is what is printed.
[[noreturn]] void leave_with_problem(const VmOptions& options, const Json& problem) {
    if (options.json) fmt::print("{}\n", problem.dump());
    leave_with(static_cast<ExitStatus>(control::problem_kind_of(problem).exit_status),
               problem["error"].get<std::string>());
}

/// Whether the folder of the VM, or of all, is there and another user's.
bool is_anothers(const VmOptions& options) {
    for (const std::string& path : {options.runtime, options.runtime + "/" + options.vm})
        if (::access(path.c_str(), R_OK | X_OK) != 0 && errno == EACCES) return true;
    return false;
}

Json ask(const VmOptions& options, const Json& request) {
    if (Result<pid_t> found = host::RuntimeFolder::find(options.runtime, options.vm); !found)
        leave_with_problem(
            options, control::problem(is_anothers(options) ? control::kNotPermitted : control::kNoSuchVm,
                                      found.error().message()));
    Result<Json> answer =
        host::control_exchange(host::RuntimeFolder::control_socket_of(options.runtime, options.vm), request);
    if (!answer) leave_with_problem(options, control::problem(control::kNoAnswer, answer.error().message()));
    if (control::is_problem(answer.value())) leave_with_problem(options, answer.value());
    return answer.take();
}

void print_status(const VmOptions& options) {
    std::vector<std::string> names = {options.vm};
    if (options.vm.empty()) names = host::RuntimeFolder::running(options.runtime);
    if (names.empty() && !options.json) fmt::print("no VM runs on this host (by {})\n", options.runtime);
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
    Json answer = ask(options, {{"action", "console"}});
    if (options.json) return fmt::print("{}\n", answer.dump());
    std::string place = answer["console"].get<std::string>();
    fmt::print(stderr, "attached to {}; Ctrl-] leaves\n", place);
    if (Result<void> attached = host::attach_terminal(place); !attached)
        leave_with(kFailed, attached.error().message());
}

/// The VM's process has another working directory.
std::string meant_here(const control::Argument& argument, const std::string& text) {
    return argument.kind == control::Kind::kPath ? std::filesystem::absolute(text).string() : text;
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

void carry_out(const VmOptions& options, const control::Action& action) {
    Json request = {{"action", action.name}};
    for (size_t i = 0; i < action.arguments.size(); ++i)
        if (!options.arguments[i].empty())
            request[action.arguments[i].name] = meant_here(action.arguments[i], options.arguments[i]);
    Json answer = ask(options, request);
    wait_for_end(options, action);
    fmt::print("{}\n", options.json ? answer.dump() : answer.value("done", answer.dump()));
}

void add_argument(CLI::App& command, const control::Argument& argument, std::string& value) {
    CLI::Option* option =
        command.add_option(std::string(argument.name), value,
                           fmt::format("{} ({})", argument.meaning, control::describe(argument)));
    if (argument.required) option->required();
    if (!argument.choices.empty())
        option->check(
            CLI::IsMember(std::vector<std::string>(argument.choices.begin(), argument.choices.end())));
}

/// The command of an action, with what all of them have.
CLI::App* add_command(CLI::App& program, const control::Action& action, VmOptions& options) {
    CLI::App* command = program.add_subcommand(std::string(action.name), std::string(action.meaning));
    CLI::Option* vm = command->add_option("vm", options.vm, "the VM's name");
    bool takes_all = action.name == "status";
    if (!takes_all) vm->required();
    command->add_flag("--json", options.json, "for programs: the answer as a JSON object, or what is wrong");
    command->footer(fmt::format("Possible {}. By the API it needs the role {}.", action.occasion.name,
                                host::name_of(action.role)));
    add_runtime_option(*command, options.runtime);
    return command;
}

void add_action_command(CLI::App& program, const control::Action& action) {
    auto options = std::make_shared<VmOptions>();
    options->arguments.resize(action.arguments.size());
    CLI::App* command = add_command(program, action, *options);
    for (size_t i = 0; i < action.arguments.size(); ++i)
        add_argument(*command, action.arguments[i], options->arguments[i]);
    if (action.name == "status") {
        command->add_flag_callback(
            "--counters", [options] { options->counters = control::Counters::kShown; },
            "also figures of the log and the engine");
        command->callback([options] { print_status(*options); });
    } else if (action.name == "console") {
        command->description("attaches to the console of a VM; Ctrl-] leaves");
        command->callback([options] { attach_console(*options); });
    } else {
        command->callback([options, &action] { carry_out(*options, action); });
    }
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
    for (const control::Action& action : control::actions()) add_action_command(program, action);
}

}  // namespace lockstep
