// SPDX-License-Identifier: Apache-2.0
// lockstep list, start, stop: the VMs that this host's daemon looks after (src/keeper).
#include <unistd.h>

#include <algorithm>

#include "host/control_socket.h"
#include "host/runtime_folder.h"
#include "keeper/vm_keeper.h"
#include "lockstep/commands.h"

namespace lockstep {

namespace {

using host::Json;

struct KeeperOptions {
    std::string vm;
    std::string runtime;
    bool json = false;
};

/// What the VM's process says of itself; an object without fields where there is none, or it hangs.
Json running_status(const std::string& base, const std::string& vm) {
    constexpr uint64_t kTimeoutNs = 2 * host::kNsPerSecond;
    if (host::RuntimeFolder::process_of(base, vm) == 0) return Json::object();
    auto status = host::control_request(host::RuntimeFolder::control_socket_of(base, vm),
                                        {{"action", "status"}}, kTimeoutNs);
    if (!status) return {{"why", status.error().message()}};
    return status.take();
}

/// The VMs that the daemon looks after, and those that run here besides.
std::vector<Json> listed_vms(const std::string& base) {
    std::vector<Json> vms = keeper::kept_vms(base);
    for (const std::string& name : host::RuntimeFolder::running(base))
        if (std::ranges::none_of(vms, [&](const Json& vm) { return vm["name"] == name; }))
            vms.push_back({{"name", name}, {"state", "running"}, {"why", "started by hand, or a backup"}});
    for (Json& vm : vms) {
        Json status = running_status(base, vm["name"]);
        vm["role"] = status.value("role", "");
        vm["protected"] = status.value("protected", false);
        if (std::string mistake = vm.value("mistake", std::string()); !mistake.empty()) vm["why"] = mistake;
        if (vm.value("why", std::string()).empty()) vm["why"] = status.value("why", "");
    }
    return vms;
}

void list(const KeeperOptions& options) {
    std::vector<Json> vms = listed_vms(options.runtime);
    if (options.json) {
        for (const Json& vm : vms) fmt::print("{}\n", vm.dump());
        return;
    }
    if (vms.empty()) return fmt::print("this host's daemon looks after no VM, and none runs here\n");
    fmt::print("{:20} {:10} {:10} {:10} {}\n", "VM", "state", "role", "protected", "why");
    for (const Json& vm : vms) {
        std::string role = vm["role"];
        bool is_owner = role == "solo" || role == "primary" || role == "waiting";
        fmt::print("{:20} {:10} {:10} {:10} {}\n", vm["name"].get<std::string>(),
                   vm["state"].get<std::string>(), role.empty() ? "-" : role,
                   is_owner ? (vm["protected"].get<bool>() ? "yes" : "no") : "-",
                   vm["why"].get<std::string>());
    }
}

void ask_daemon(const KeeperOptions& options, const std::string& action) {
    std::string socket = keeper::daemon_socket(options.runtime);
    if (::access(socket.c_str(), F_OK) != 0)
        leave_with(kFailed,
                   fmt::format("no daemon runs on this host (by {}); start it by `lockstep serve`, or "
                               "the VM alone by `lockstep run --background {}`",
                               options.runtime, options.vm));
    Json answer = value_or_leave(host::control_request(socket, {{"action", action}, {"vm", options.vm}}));
    fmt::print("{}\n", answer.value("done", answer.dump()));
}

void add_daemon_command(CLI::App& program, const std::string& action, const std::string& meaning) {
    auto options = std::make_shared<KeeperOptions>();
    CLI::App* command = program.add_subcommand(action, meaning);
    command->add_option("vm", options->vm, "the VM's name")->required();
    add_runtime_option(*command, options->runtime);
    command->callback([options, action] { ask_daemon(*options, action); });
}

}  // namespace

void add_keeper_commands(CLI::App& program) {
    auto options = std::make_shared<KeeperOptions>();
    CLI::App* command =
        program.add_subcommand("list", "List the VMs of this host, those that are off included");
    command->add_flag("--json", options->json, "for programs: a JSON object a line");
    add_runtime_option(*command, options->runtime);
    command->callback([options] { list(*options); });
    add_daemon_command(program, "start", "Have this host's daemon start a VM of its folder");
    add_daemon_command(program, "stop", "Press a VM's power button; once it is off, it stays so");
}

}  // namespace lockstep
