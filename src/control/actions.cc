// SPDX-License-Identifier: Apache-2.0
#include "control/actions.h"

#include "control/config.h"

namespace lockstep::control {

namespace {

using enum replica::State;
using vmm::VmProcess;

constexpr States of(std::initializer_list<replica::State> states) {
    States set = 0;
    for (replica::State state : states) set |= state_bit(state);
    return set;
}

constexpr States all_states() {
    States set = 0;
    for (replica::State state : replica::kAllStates) set |= state_bit(state);
    return set;
}

constexpr States kAnywhere = all_states();
constexpr States kRunning = of({kSolo, kSynchronising, kProtected});
constexpr States kCopyable = of({kSolo, kProtected});

std::string text_of(const Json& request, std::string_view name) {
    auto found = request.find(name);
    return found == request.end() ? "" : found->get<std::string>();
}

Json done(std::string sentence) { return {{"done", std::move(sentence)}}; }
std::string name_of(const VmProcess& vm) { return vm.status().name; }

Result<Json> run_status(VmProcess& vm, const Json&) { return status_json(vm.status()); }

Result<Json> run_protect(VmProcess& vm, const Json& request) {
    std::string host = text_of(request, "host");
    TRY(vm.protect(host));
    return done(fmt::format("VM {} asks {} for a backup", name_of(vm), host.empty() ? "its hosts" : host));
}

Result<Json> run_unprotect(VmProcess& vm, const Json&) {
    TRY(vm.unprotect());
    return done(fmt::format("VM {} gives up its backup and asks for no other", name_of(vm)));
}

Result<Json> run_fail_over(VmProcess& vm, const Json& request) {
    std::string how = text_of(request, "how");
    if (how == "crash") vm.crash();
    if (!how.empty() && how != "planned")
        return error("how is \"{}\", but must be \"planned\" or \"crash\"", how);
    TRY(vm.hand_over());
    return done(fmt::format("VM {} goes over to its backup", name_of(vm)));
}

Result<Json> run_power_off(VmProcess& vm, const Json&) {
    TRY(vm.power(record::PowerAction::kPowerOff));
    return done(fmt::format("VM {} is switched off, on both sides", name_of(vm)));
}

Result<Json> run_power_button(VmProcess& vm, const Json&) {
    TRY(vm.power(record::PowerAction::kButton));
    return done(
        fmt::format("the power button of VM {} was pressed; the guest decides what follows", name_of(vm)));
}

Result<Json> run_reset(VmProcess& vm, const Json&) {
    TRY(vm.power(record::PowerAction::kReset));
    return done(fmt::format("VM {} is reset", name_of(vm)));
}

Result<Json> run_console(VmProcess& vm, const Json&) {
    std::string place = vm.status().console;
    if (place.empty())
        return error("VM {} has no console; set console.kind in its configuration", name_of(vm));
    return Json{{"console", place}};
}

Result<Json> run_record_start(VmProcess& vm, const Json& request) {
    TRY(vm.start_recording(text_of(request, "path")));
    return done(fmt::format("VM {} is recorded to {}", name_of(vm), text_of(request, "path")));
}

Result<Json> run_record_stop(VmProcess& vm, const Json&) {
    std::string path = TRY(vm.stop_recording());
    return done(fmt::format("the recording {} is complete", path));
}

Result<Json> run_snapshot(VmProcess& vm, const Json& request) {
    TRY(vm.snapshot(text_of(request, "path")));
    return done(fmt::format("VM {} as it was is in {}", name_of(vm), text_of(request, "path")));
}

constexpr Argument kProtectArguments[] = {
    {"host", "the host daemon to protect to, \"address:port\"; without it any of protection.hosts", false}};
constexpr Argument kFailOverArguments[] = {
    {"how", "\"planned\" (the default; nothing is lost or waits) or \"crash\" (this process kills itself)",
     false}};
constexpr Argument kRecordArguments[] = {{"path", "the file to write; it must not exist yet", true}};

constexpr std::string_view kAskThePrimary = "ask the host on which the VM runs";
constexpr std::string_view kWaitForBackup = "ask the host on which the VM runs, once no backup is being made";
constexpr std::string_view kProtectFirst = "wait until its state is Protected (lockstep status)";

// clang-format off
constexpr Action kActions[] = {
    {"status", "role, protection, lag, log bandwidth, figures", {}, kAnywhere, "", "an object, see docs/operation.md", run_status},
    {"protect", "makes a backup on another host, and another whenever it is lost", kProtectArguments, kRunning, kAskThePrimary, "a sentence", run_protect},
    {"unprotect", "gives up the backup", {}, kRunning, kAskThePrimary, "a sentence", run_unprotect},
    {"failover", "lets the backup take over, as a test or before maintenance", kFailOverArguments, of({kProtected}), kProtectFirst, "a sentence; none for a crash", run_fail_over},
    {"poweroff", "switches the guest off at once, on both sides", {}, kRunning, kAskThePrimary, "a sentence", run_power_off},
    {"powerbutton", "presses the guest's power button", {}, kRunning, kAskThePrimary, "a sentence", run_power_button},
    {"reset", "resets the guest", {}, kRunning, kAskThePrimary, "a sentence", run_reset},
    {"console", "where the console is", {}, kAnywhere, "", "console: a path", run_console},
    {"record-start", "records the guest from now on", kRecordArguments, kCopyable, kWaitForBackup, "a sentence", run_record_start},
    {"record-stop", "ends the recording", {}, kRunning, kAskThePrimary, "a sentence", run_record_stop},
    {"snapshot", "copies the VM as it is now to a file, without a pause", kRecordArguments, kCopyable, kWaitForBackup, "a sentence, as soon as the copy has begun; then status says in \"snapshot\" when it is whole", run_snapshot},
};
// clang-format on

std::vector<std::string_view> action_names() {
    std::vector<std::string_view> names;
    for (const Action& action : kActions) names.push_back(action.name);
    return names;
}

Result<void> check_arguments(const Action& action, const Json& request) {
    for (const auto& [key, value] : request.items()) {
        if (key == "action") continue;
        bool known = false;
        for (const Argument& argument : action.arguments) known = known || argument.name == key;
        if (!known) return error("{} takes no argument \"{}\"", action.name, key);
        if (!value.is_string()) return error("the argument \"{}\" of {} must be text", key, action.name);
    }
    for (const Argument& argument : action.arguments)
        if (argument.required && text_of(request, argument.name).empty())
            return error("{} needs the argument \"{}\": {}", action.name, argument.name, argument.meaning);
    return {};
}

Result<Json> carry_out(VmProcess& vm, const Json& request) {
    if (!request.is_object() || !request.contains("action") || !request["action"].is_string())
        return error("a request is an object with \"action\", as in {{\"action\": \"status\"}}");
    std::string name = request["action"].get<std::string>();
    const Action* action = find_action(name);
    if (!action) {
        std::string near = nearest_word(name, action_names());
        return error("there is no action \"{}\"{}", name,
                     near.empty() ? "" : fmt::format("; did you mean \"{}\"?", near));
    }
    TRY(check_arguments(*action, request));
    vmm::VmStatus status = vm.status();
    if (!status.started && action->legal != kAnywhere)
        return error("{} is not possible yet: VM {} is starting; try again", name, status.name);
    if (status.started && !(action->legal & state_bit(status.replica.state)))
        return error("{} is not possible while VM {} is in the state {} here; {}", name, status.name,
                     replica::name_of(status.replica.state), action->otherwise);
    return action->run(vm, request);
}

}  // namespace

std::span<const Action> actions() { return kActions; }

const Action* find_action(std::string_view name) {
    for (const Action& action : kActions)
        if (action.name == name) return &action;
    return nullptr;
}

Json answer_request(VmProcess& vm, const Json& request) {
    Result<Json> answer = carry_out(vm, request);
    if (!answer) return {{"error", answer.error().message()}};
    return answer.take();
}

}  // namespace lockstep::control
