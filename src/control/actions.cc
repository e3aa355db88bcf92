// SPDX-License-Identifier: Apache-2.0
#include "control/actions.h"

#include <algorithm>
#include <cctype>

#include "control/config.h"
#include "control/status_fields.h"

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

constexpr std::string_view kAskThePrimary = "ask the host on which the VM runs";
constexpr Occasion kAlways = {"always", all_states(), ""};
constexpr Occasion kWhileItRuns = {"where the guest runs", of({kSolo, kSynchronising, kProtected}),
                                   kAskThePrimary};
constexpr Occasion kWhileProtected = {"while it is protected, where the guest runs", of({kProtected}),
                                      "wait until its state is Protected (lockstep status)"};
constexpr Occasion kWhileCopyable = {"while it runs alone or is protected", of({kSolo, kProtected}),
                                     "ask the host on which the VM runs, once no backup is being made"};

/// The state of a VM whose machine isn't there yet, as status_json() has it.
constexpr std::string_view kStarting = "Starting";

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

constexpr std::string_view kWaysToFailOver[] = {"planned", "crash"};

constexpr Argument kProtectArguments[] = {
    {"host", Kind::kAddress, "the daemon of the host to protect to; without it any of protection.hosts",
     false}};
constexpr Argument kFailOverArguments[] = {
    {"how", Kind::kChoice,
     "planned: nothing is lost or waits; crash: this side's process kills itself, as a failure would", false,
     kWaysToFailOver}};
constexpr Argument kRecordArguments[] = {
    {"path", Kind::kPath, "the file to write on the VM's host; it must not exist yet", true}};

constexpr Field kSentence[] = {{"done", Kind::kText, "what was done, a sentence"}};
constexpr Field kSnapshotBegun[] = {
    {"done", Kind::kText,
     "a sentence, as soon as the copy has begun; status says in \"snapshot\" when it is whole"}};
constexpr Field kConsolePlace[] = {{"console", Kind::kPath, "the socket, or the link to the terminal"}};

constexpr host::Role kViewer = host::Role::kViewer, kOperator = host::Role::kOperator,
                     kAdmin = host::Role::kAdmin;

// clang-format off
constexpr Action kActions[] = {
    {"status", "says what the VM is doing: role, protection, lag, figures", {}, kAlways, kViewer, kStatusFields, run_status, true},
    {"protect", "makes a backup, on that host where one is named, and another whenever it is lost", kProtectArguments, kWhileItRuns, kOperator, kSentence, run_protect},
    {"unprotect", "gives up the backup, or the copy that is being made for one, and asks for no other", {}, kWhileItRuns, kOperator, kSentence, run_unprotect},
    {"failover", "lets the backup take over, at the instruction at which this side stops", kFailOverArguments, kWhileProtected, kOperator, kSentence, run_fail_over},
    {"poweroff", "switches the guest off, on both sides; no side takes it for a failure", {}, kWhileItRuns, kOperator, kSentence, run_power_off},
    {"powerbutton", "presses the guest's power button; the guest decides what follows", {}, kWhileItRuns, kOperator, kSentence, run_power_button},
    {"reset", "resets the guest", {}, kWhileItRuns, kOperator, kSentence, run_reset},
    {"console", "says where the console is", {}, kAlways, kOperator, kConsolePlace, run_console, true},
    {"record-start", "records the VM from now on", kRecordArguments, kWhileCopyable, kAdmin, kSentence, run_record_start},
    {"record-stop", "ends the recording", {}, kWhileItRuns, kAdmin, kSentence, run_record_stop},
    {"snapshot", "copies the VM as it is now to a file, without a pause", kRecordArguments, kWhileCopyable, kAdmin, kSnapshotBegun, run_snapshot},
};
// clang-format on

std::vector<std::string_view> action_names() {
    std::vector<std::string_view> names;
    for (const Action& action : kActions) names.push_back(action.name);
    return names;
}

const Argument* find_argument(const Action& action, std::string_view name) {
    for (const Argument& argument : action.arguments)
        if (argument.name == name) return &argument;
    return nullptr;
}

/// What is wrong with a value that was given; empty: nothing.
std::string check_value(const Argument& argument, const std::string& value) {
    bool is_choice = std::ranges::find(argument.choices, value) != argument.choices.end();
    bool is_wrong = (argument.kind == Kind::kChoice && !is_choice) ||
                    (argument.kind == Kind::kPath && !value.starts_with('/'));
    if (!is_wrong || value.empty()) return "";
    return fmt::format("{} is \"{}\", but must be {}", argument.name, value, describe(argument));
}

Json carry_out(VmProcess& vm, const Json& request) {
    if (!request.is_object() || !request.contains("action") || !request["action"].is_string())
        return problem(kBadRequest, "a request is an object with \"action\", as in {\"action\": \"status\"}");
    std::string name = request["action"].get<std::string>();
    const Action* action = find_action(name);
    if (!action) {
        std::string near = nearest_word(name, action_names());
        return problem(kUnknownAction,
                       fmt::format("there is no action \"{}\"{}", name,
                                   near.empty() ? "" : fmt::format("; did you mean \"{}\"?", near)));
    }
    if (Json wrong = check_arguments(*action, request); !wrong.is_null()) return wrong;
    vmm::VmStatus status = vm.status();
    std::string_view state = status.started ? replica::name_of(status.replica.state) : kStarting;
    if (Json refused = refusal_in_state(*action, status.name, state); !refused.is_null()) return refused;
    Result<Json> answer = action->run(vm, request);
    return answer ? answer.take() : problem(kFailed, answer.error().message());
}

}  // namespace

std::span<const Action> actions() { return kActions; }

const Action* find_action(std::string_view name) {
    for (const Action& action : kActions)
        if (action.name == name) return &action;
    return nullptr;
}

std::string describe(const Argument& argument) {
    switch (argument.kind) {
        case Kind::kAddress:
            return "\"address:port\"";
        case Kind::kPath:
            return "an absolute path";
        case Kind::kChoice: {
            std::string text;
            for (std::string_view choice : argument.choices)
                text += fmt::format("{}\"{}\"", text.empty() ? "" : " or ", choice);
            return text;
        }
        default:
            return "text";
    }
}

std::string synopsis_of(const Action& action) {
    std::string text = fmt::format("{} VM", action.name);
    for (const Argument& argument : action.arguments) {
        std::string name(argument.name);
        std::ranges::transform(name, name.begin(), [](unsigned char c) { return std::toupper(c); });
        text += argument.required ? " " + name : " [" + name + "]";
    }
    return text;
}

Json check_arguments(const Action& action, const Json& request) {
    for (const auto& [key, value] : request.items()) {
        if (key == "action") continue;
        const Argument* argument = find_argument(action, key);
        if (!argument)
            return problem(kBadArgument, fmt::format("{} takes no argument \"{}\"", action.name, key));
        if (!value.is_string())
            return problem(kBadArgument,
                           fmt::format("the argument \"{}\" of {} must be text", key, action.name));
        std::string wrong = check_value(*argument, value.get<std::string>());
        if (!wrong.empty()) return problem(kBadArgument, wrong);
    }
    for (const Argument& argument : action.arguments)
        if (argument.required && text_of(request, argument.name).empty())
            return problem(kBadArgument, fmt::format("{} needs the argument \"{}\": {}", action.name,
                                                     argument.name, argument.meaning));
    return nullptr;
}

Json refusal_in_state(const Action& action, const std::string& vm, std::string_view state) {
    if (action.occasion.states == all_states()) return nullptr;
    if (state == kStarting)
        return problem(kNotNow,
                       fmt::format("{} is not possible yet: VM {} is starting; try again", action.name, vm),
                       "try again in a moment");
    for (replica::State legal : replica::kAllStates)
        if ((action.occasion.states & state_bit(legal)) && replica::name_of(legal) == state) return nullptr;
    return problem(kNotNow,
                   fmt::format("{} is not possible while VM {} is in the state {} here; {}", action.name, vm,
                               state, action.occasion.otherwise),
                   action.occasion.otherwise);
}

Json refusal_of_role(const Action& action, host::Role role) {
    if (role >= action.role) return nullptr;
    return problem(kNotPermitted,
                   fmt::format("{} needs the role {}, and yours is {}", action.name,
                               host::name_of(action.role), host::name_of(role)),
                   fmt::format("ask for a certificate with that role (lockstep cluster user NAME --role {})",
                               host::name_of(action.role)));
}

Json answer_request(VmProcess& vm, const Json& request) { return carry_out(vm, request); }

}  // namespace lockstep::control
