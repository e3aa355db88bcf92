// SPDX-License-Identifier: Apache-2.0
#include "api/answers.h"

#include <fmt/format.h>
#include <unistd.h>

#include "api/console_session.h"
#include "api/document.h"
#include "api/host_view.h"
#include "api/metrics.h"
#include "api/objects.h"
#include "api/page_files.h"
#include "api/web_socket.h"
#include "base/log.h"
#include "control/actions.h"
#include "host/acceptor.h"

namespace lockstep::api {

namespace {

using control::problem;

std::span<const Field> status_fields() { return control::find_action("status")->result; }

/// The parts between slashes.
std::vector<std::string_view> parts_of(std::string_view path) {
    std::vector<std::string_view> parts;
    while (!path.empty()) {
        size_t end = path.find('/', 1);
        parts.push_back(path.substr(1, end == std::string_view::npos ? end : end - 1));
        path = end == std::string_view::npos ? std::string_view() : path.substr(end);
    }
    return parts;
}

/// Whether a path is of a pattern; `parameters` are what stands for its names.
bool matches(std::string_view pattern, std::string_view path,
             std::map<std::string, std::string, std::less<>>& parameters) {
    std::vector<std::string_view> wanted = parts_of(pattern), given = parts_of(path);
    if (wanted.size() != given.size() || !path.starts_with('/')) return false;
    for (size_t i = 0; i < wanted.size(); ++i) {
        if (!wanted[i].starts_with('{')) {
            if (wanted[i] != given[i]) return false;
            continue;
        }
        if (given[i].empty()) return false;
        parameters[std::string(wanted[i].substr(1, wanted[i].size() - 2))] = given[i];
    }
    return true;
}

/// A browser says of which page a request is; other clients say nothing.
bool is_of_foreign_page(const Request& request) {
    if (request.origin.empty()) return false;
    size_t name = request.origin.find("://");
    return name == std::string::npos || request.origin.substr(name + 3) != request.host;
}

/// The arguments of an action as a request to the VM, or a problem.
Json arguments_of(const Request& request) {
    if (!request.content_type.starts_with("application/json"))
        return problem(control::kBadRequest,
                       "an action is asked for in JSON: say `Content-Type: application/json`");
    if (request.body.empty()) return Json::object();
    Json body = Json::parse(request.body, nullptr, false);
    if (!body.is_object())
        return problem(control::kBadRequest, "the arguments of an action are a JSON object, as in {}");
    return body;
}

std::string text_in(const Json& object, const char* key) {
    auto found = object.find(key);
    return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

Json action_view(const control::Action& action, const Json& status, host::Role role) {
    Json refused = control::refusal_of_role(action, role);
    if (refused.is_null())
        refused = control::refusal_in_state(action, text_in(status, "name"), text_in(status, "state"));
    return {{"name", action.name},
            {"meaning", action.meaning},
            {"role", host::name_of(action.role)},
            {"possible", refused.is_null()},
            {"why_not", refused.is_null() ? "" : text_in(refused, "error")},
            {"arguments", arguments_json(action)}};
}

constexpr host::Role kViewer = host::Role::kViewer, kOperator = host::Role::kOperator;

}  // namespace

std::span<const Route> Answers::routes() {
    // clang-format off
    static const Route kTable[] = {
        {"GET", "/v1/me", "who asks, and his role", kViewer, Answer::kObject, kCallerFields, "", &Answers::answer_caller},
        {"GET", "/v1/vms", "the VMs of this host", kViewer, Answer::kList, status_fields(), "vms", &Answers::answer_vms},
        {"GET", "/v1/vms/{vm}", "the status of a VM", kViewer, Answer::kObject, status_fields(), "", &Answers::answer_vm},
        {"GET", "/v1/vms/{vm}/actions", "what may be done with a VM now, and why not", kViewer, Answer::kList, kActionFields, "actions", &Answers::answer_actions},
        {"POST", "/v1/vms/{vm}/actions/{action}", "does it", kViewer, Answer::kObject, {}, "", &Answers::carry_out},
        {"GET", "/v1/vms/{vm}/console", "the console, by a WebSocket", kOperator, Answer::kWebSocket, {}, "", &Answers::open_console},
        {"GET", "/v1/hosts", "this host, and those that VMs here have to do with", kViewer, Answer::kList, kHostFields, "hosts", &Answers::answer_hosts},
        {"GET", "/v1/tasks", "what takes its time", kViewer, Answer::kList, kTaskFields, "tasks", &Answers::answer_tasks},
        {"GET", "/v1/events", "how everything is, and then what changes", kViewer, Answer::kEvents, {}, "", &Answers::answer_events},
        {"GET", "/metrics", "figures for Prometheus", kViewer, Answer::kText, {}, "", &Answers::answer_metrics},
        {"GET", "/v1/openapi.json", "the document of this API", kViewer, Answer::kObject, {}, "", &Answers::answer_document},
    };
    // clang-format on
    return kTable;
}

void Answers::answer(const Request& request, const Caller& caller, Connection::Reply reply) {
    bool path_is_known = false;
    for (const PageFile& file : page_files())
        if (request.path == file.path && request.method == "GET")
            return reply({.content_type = std::string(file.content_type), .body = std::string(file.content)});
    for (const Route& route : routes()) {
        Call call{request, caller, {}, reply};
        if (!matches(route.pattern, request.path, call.parameters)) continue;
        path_is_known = true;
        if (route.method != request.method) continue;
        if ((route.method != "GET" || route.answer == Answer::kWebSocket) && is_of_foreign_page(request))
            return reply(problem_response(control::kNotPermitted, "the request is of another host's page"));
        if (caller.role < route.role)
            return reply(problem_response(
                control::kNotPermitted, fmt::format("{} needs the role {}, and yours is {}", request.path,
                                                    host::name_of(route.role), host::name_of(caller.role))));
        return (this->*route.handle)(std::move(call));
    }
    if (path_is_known)
        return reply(problem_response(control::kWrongMethod,
                                      fmt::format("{} takes no {}", request.path, request.method)));
    reply(
        problem_response(control::kNotFound,
                         fmt::format("there is no {}; /v1/openapi.json lists what there is", request.path)));
}

bool Answers::find_vm(const Call& call) {
    const std::string& vm = call.parameters.find("vm")->second;
    if (vms_.runs(vm)) return true;
    call.reply(problem_response(control::kNoSuchVm, fmt::format("no VM \"{}\" runs on this host", vm),
                                "see /v1/vms, or ask the host on which it runs"));
    return false;
}

void Answers::answer_caller(Call call) {
    call.reply(json_response(
        {{"name", call.caller.name}, {"role", host::name_of(call.caller.role)}, {"host", host_().name}}));
}

void Answers::answer_vms(Call call) {
    vms_.ask_all([reply = call.reply](const std::vector<Json>& states) {
        reply(json_response({{"vms", states}}));
    });
}

void Answers::answer_vm(Call call) {
    if (!find_vm(call)) return;
    vms_.ask(call.parameters["vm"], {{"action", "status"}}, [reply = call.reply](const Json& answer) {
        reply(control::is_problem(answer) ? problem_response(answer) : json_response(answer));
    });
}

void Answers::answer_actions(Call call) {
    if (!find_vm(call)) return;
    vms_.ask(call.parameters["vm"], {{"action", "status"}},
             [reply = call.reply, role = call.caller.role](const Json& status) {
                 if (control::is_problem(status)) return reply(problem_response(status));
                 Json list = Json::array();
                 for (const control::Action& action : control::actions())
                     list.push_back(action_view(action, status, role));
                 reply(json_response({{"actions", list}}));
             });
}

void Answers::carry_out(Call call) {
    const std::string& vm = call.parameters["vm"];
    const std::string& name = call.parameters["action"];
    const control::Action* action = control::find_action(name);
    if (!action)
        return call.reply(problem_response(
            control::kUnknownAction,
            fmt::format("there is no action \"{}\"; /v1/vms/{}/actions lists what there is", name, vm)));
    if (Json refused = control::refusal_of_role(*action, call.caller.role); !refused.is_null())
        return call.reply(problem_response(refused));
    Json request = arguments_of(call.request);
    if (control::is_problem(request)) return call.reply(problem_response(request));
    if (Json wrong = control::check_arguments(*action, request); !wrong.is_null())
        return call.reply(problem_response(wrong));
    if (!find_vm(call)) return;
    request["action"] = name;
    if (!action->only_asks)
        log_info("{} ({}) asks VM {} for {}", call.caller.name, host::name_of(call.caller.role), vm, name);
    vms_.ask(vm, request, [reply = call.reply](const Json& answer) {
        reply(control::is_problem(answer) ? problem_response(answer) : json_response(answer));
    });
}

void Answers::open_console(Call call) {
    if (call.request.upgrade != "websocket" || call.request.websocket_key.empty() ||
        call.request.websocket_version != "13")
        return call.reply(problem_response(control::kBadRequest, "the console is a WebSocket (RFC 6455)"));
    if (!find_vm(call)) return;
    log_info("{} is at the console of VM {}", call.caller.name, call.parameters["vm"]);
    vms_.ask(call.parameters["vm"], {{"action", "console"}},
             [this, reply = call.reply, key = call.request.websocket_key](const Json& answer) {
                 if (control::is_problem(answer)) return reply(problem_response(answer));
                 connect_console(text_in(answer, "console"), key, reply);
             });
}

void Answers::connect_console(const std::string& place, const std::string& key,
                              const Connection::Reply& reply) {
    Result<host::FileDescriptor> console = host::connect_to_path_at_once(place);
    if (!console)
        return reply(problem_response(
            control::kFailed,
            fmt::format("the console can't be used from here: {}", console.error().message()),
            "set console.kind = \"socket\" in the VM's configuration"));
    Response response{.status = 101,
                      .headers = {{"Upgrade", "websocket"},
                                  {"Connection", "Upgrade"},
                                  {"Sec-WebSocket-Accept", web_socket_answer(key)}},
                      .session = make_console_session(loop_, console.take())};
    reply(std::move(response));
}

void Answers::answer_hosts(Call call) {
    vms_.ask_all([reply = call.reply, host = host_()](const std::vector<Json>& states) {
        reply(json_response({{"hosts", hosts_view(host, states)}}));
    });
}

void Answers::answer_tasks(Call call) {
    vms_.ask_all([reply = call.reply](const std::vector<Json>& states) {
        reply(json_response({{"tasks", tasks_view(states)}}));
    });
}

void Answers::answer_events(Call call) {
    if (events_.listeners() >= kMostListeners)
        return call.reply(
            problem_response(control::kTooMany, "too many listen to events already", "close some"));
    call.reply({.content_type = "text/event-stream", .session = events_.listen()});
}

void Answers::answer_metrics(Call call) {
    vms_.ask_all([reply = call.reply, host = host_()](const std::vector<Json>& states) {
        reply(
            {.content_type = "text/plain; version=0.0.4; charset=utf-8", .body = metrics_text(host, states)});
    });
}

void Answers::answer_document(Call call) { call.reply(json_response(document())); }

}  // namespace lockstep::api
