// SPDX-License-Identifier: Apache-2.0
// lockstep host evacuate, restore: before and after the maintenance of a host.
#include <chrono>
#include <thread>

#include "host/control_socket.h"
#include "host/evacuation.h"
#include "host/runtime_folder.h"
#include "lockstep/commands.h"

namespace lockstep {

namespace {

using host::Json;
using host::RuntimeFolder;

constexpr std::chrono::milliseconds kPause(200);

struct EvacuateOptions {
    std::string runtime;
    unsigned seconds = 60;
    bool leave = false;  ///< VMs that can't go anywhere run on
};

Result<Json> ask(const std::string& base, const std::string& vm, const Json& request) {
    constexpr uint64_t kTimeoutNs = 5 * host::kNsPerSecond;
    return host::control_request(RuntimeFolder::control_socket_of(base, vm), request, kTimeoutNs);
}

bool guest_runs_here(const std::string& base, const std::string& vm) {
    return RuntimeFolder::process_of(base, vm) != 0 && RuntimeFolder::is_live(base, vm);
}

/// Asks the VM to go to its backup, or to switch itself off; says what was asked.
std::string send_away(const EvacuateOptions& options, const std::string& vm) {
    Result<Json> status = ask(options.runtime, vm, {{"action", "status"}});
    if (!status) return status.error().message();
    bool is_protected = status.value().value("protected", false);
    if (!is_protected && options.leave)
        return fmt::format("stays, since it has no backup: {}", status.value().value("why", ""));
    Json request = {{"action", is_protected ? "failover" : "powerbutton"}};
    Result<Json> asked = ask(options.runtime, vm, request);
    return asked ? asked.value().value("done", "") : asked.error().message();
}

/// Those that are still here when the time is over.
std::vector<std::string> wait_until_gone(const EvacuateOptions& options, std::vector<std::string> vms) {
    auto until = std::chrono::steady_clock::now() + std::chrono::seconds(options.seconds);
    for (;;) {
        std::erase_if(vms, [&](const std::string& vm) { return !guest_runs_here(options.runtime, vm); });
        if (vms.empty() || std::chrono::steady_clock::now() > until) return vms;
        std::this_thread::sleep_for(kPause);
    }
}

void evacuate(const EvacuateOptions& options) {
    value_or_leave(host::make_runtime_base(options.runtime));
    value_or_leave(host::mark_evacuated(options.runtime));
    std::vector<std::string> vms = RuntimeFolder::running(options.runtime);
    std::erase_if(vms, [&](const std::string& vm) { return !guest_runs_here(options.runtime, vm); });
    for (const std::string& vm : vms) fmt::print("{}: {}\n", vm, send_away(options, vm));
    std::vector<std::string> left =
        options.leave ? std::vector<std::string>() : wait_until_gone(options, vms);
    fmt::print(
        "This host takes no backups and starts no VMs until `lockstep host restore`, or until it is started "
        "anew.\n");
    if (left.empty()) return;
    std::string names;
    for (const std::string& vm : left) names += (names.empty() ? "" : ", ") + vm;
    leave_with(kFailed, fmt::format("after {} s these VMs still run here: {}; see `lockstep status`",
                                    options.seconds, names));
}

}  // namespace

void add_evacuate_commands(CLI::App& program) {
    CLI::App* group = program.add_subcommand("host", "Maintenance of this host");
    group->require_subcommand(1);
    auto options = std::make_shared<EvacuateOptions>();
    CLI::App* evacuates = group->add_subcommand(
        "evacuate", "Hand all VMs over to their backups; press the power button of those that have none");
    evacuates->add_option("--seconds", options->seconds, "how long to wait until they have gone (60)");
    evacuates->add_flag("--leave-unprotected", options->leave, "VMs without a backup run on; don't wait");
    add_runtime_option(*evacuates, options->runtime);
    evacuates->callback([options] { evacuate(*options); });
    CLI::App* restores = group->add_subcommand("restore", "Take backups and start VMs again");
    add_runtime_option(*restores, options->runtime);
    restores->callback([options] { value_or_leave(host::clear_evacuated(options->runtime)); });
}

}  // namespace lockstep
