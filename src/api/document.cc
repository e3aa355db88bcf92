// SPDX-License-Identifier: Apache-2.0
#include "api/document.h"

#include <algorithm>

#include "api/answers.h"
#include "api/objects.h"
#include "vmm/version.h"

namespace lockstep::api {

namespace {

std::string_view kind_name(Kind kind) {
    switch (kind) {
        case Kind::kText:
            return "text";
        case Kind::kAddress:
            return "address";
        case Kind::kChoice:
            return "choice";
        case Kind::kPath:
            return "path";
        case Kind::kNumber:
            return "number";
        case Kind::kInteger:
            return "integer";
        case Kind::kFlag:
            return "flag";
        case Kind::kObject:
            return "object";
        case Kind::kList:
            return "list";
    }
    return "";
}

Json type_of(Kind kind) {
    switch (kind) {
        case Kind::kNumber:
            return Json::array({"number", "null"});
        case Kind::kInteger:
            return "integer";
        case Kind::kFlag:
            return "boolean";
        case Kind::kObject:
            return "object";
        case Kind::kList:
            return "array";
        default:
            return "string";
    }
}

Json schema_of(std::span<const Field> fields) {
    Json properties = Json::object();
    for (const Field& field : fields)
        properties[std::string(field.name)] = {{"type", type_of(field.kind)}, {"description", field.meaning}};
    return {{"type", "object"}, {"properties", properties}};
}

Json schema_of_arguments(const control::Action& action) {
    Json properties = Json::object(), required = Json::array();
    for (const control::Argument& argument : action.arguments) {
        Json one = {{"type", "string"}, {"description", argument.meaning}};
        for (std::string_view choice : argument.choices) one["enum"].push_back(choice);
        properties[std::string(argument.name)] = one;
        if (argument.required) required.push_back(argument.name);
    }
    Json schema = {{"type", "object"}, {"properties", properties}, {"additionalProperties", false}};
    if (!required.empty()) schema["required"] = required;
    return schema;
}

Json content(std::string_view type, Json schema) {
    return {{std::string(type), {{"schema", std::move(schema)}}}};
}

/// What may come, whatever is asked.
Json responses(Json good, std::string_view status = "200") {
    return {{std::string(status), std::move(good)},
            {"default",
             {{"description", "what is wrong"},
              {"content", content("application/problem+json", {{"$ref", "#/components/schemas/Problem"}})}}}};
}

Json good_answer(const Route& route) {
    Json answer = {{"description", route.meaning}};
    switch (route.answer) {
        case Answer::kObject:
            answer["content"] = content("application/json", schema_of(route.fields));
            break;
        case Answer::kList:
            answer["content"] = content(
                "application/json",
                {{"type", "object"},
                 {"properties",
                  {{std::string(route.list), {{"type", "array"}, {"items", schema_of(route.fields)}}}}}});
            break;
        case Answer::kText:
            answer["content"] = content("text/plain", {{"type", "string"}});
            break;
        case Answer::kEvents:
            answer["content"] = content("text/event-stream", {{"type", "string"}});
            break;
        case Answer::kWebSocket:
            break;
    }
    return answer;
}

Json parameters_of(std::string_view pattern) {
    Json parameters = Json::array();
    for (size_t at = 0; (at = pattern.find('{', at)) != std::string_view::npos; ++at)
        parameters.push_back({{"name", pattern.substr(at + 1, pattern.find('}', at) - at - 1)},
                              {"in", "path"},
                              {"required", true},
                              {"schema", {{"type", "string"}}}});
    return parameters;
}

std::string identifier_of(const Route& route) {
    std::string text(route.method);
    std::ranges::transform(text, text.begin(), [](unsigned char c) { return std::tolower(c); });
    for (char c : route.pattern) text += std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
    return text;
}

Json operation_of(const Route& route) {
    std::string status = route.answer == Answer::kWebSocket ? "101" : "200";
    Json operation = {{"operationId", identifier_of(route)},
                      {"summary", route.meaning},
                      {"description", fmt::format("Needs the role {}.", host::name_of(route.role))},
                      {"responses", responses(good_answer(route), status)}};
    if (Json parameters = parameters_of(route.pattern); !parameters.empty())
        operation["parameters"] = parameters;
    return operation;
}

/// Each action has a path of its own in the document, since each takes and answers something else.
Json operation_of(const control::Action& action) {
    return {{"operationId", fmt::format("post_{}", action.name)},
            {"summary", action.meaning},
            {"description", fmt::format("Possible {}. Needs the role {}.", action.occasion.name,
                                        host::name_of(action.role))},
            {"parameters", parameters_of("{vm}")},
            {"requestBody", {{"content", content("application/json", schema_of_arguments(action))}}},
            {"responses", responses({{"description", "done"},
                                     {"content", content("application/json", schema_of(action.result))}})}};
}

}  // namespace

Json arguments_json(const control::Action& action) {
    Json list = Json::array();
    for (const control::Argument& argument : action.arguments) {
        Json choices = Json::array();
        for (std::string_view choice : argument.choices) choices.push_back(choice);
        list.push_back({{"name", argument.name},
                        {"kind", kind_name(argument.kind)},
                        {"meaning", argument.meaning},
                        {"required", argument.required},
                        {"choices", choices}});
    }
    return list;
}

Json document() {
    Json paths = Json::object();
    for (const Route& route : Answers::routes()) {
        if (route.method == "POST") continue;
        std::string method(route.method);
        std::ranges::transform(method, method.begin(), [](unsigned char c) { return std::tolower(c); });
        paths[std::string(route.pattern)][method] = operation_of(route);
    }
    for (const control::Action& action : control::actions())
        paths[fmt::format("/v1/vms/{{vm}}/actions/{}", action.name)]["post"] = operation_of(action);
    Json codes = Json::array();
    for (const control::ProblemKind& kind : control::problem_kinds()) codes.push_back(kind.code);
    Json problem = schema_of(kProblemFields);
    problem["properties"]["code"]["enum"] = codes;
    problem["required"] = {"type", "title", "status", "code", "detail"};
    return {
        {"openapi", "3.1.0"},
        {"info",
         {{"title", "Lockstep"},
          {"version", vmm::kVersion},
          {"description", "The VMs of a host: what they are doing, and what may be done with them."}}},
        {"paths", paths},
        {"components",
         {{"schemas", {{"Problem", problem}}},
          {"securitySchemes",
           {{"certificate", {{"type", "mutualTLS"}, {"description", "made by `lockstep cluster user`"}}}}}}},
        {"security", Json::array({{{"certificate", Json::array()}}})}};
}

}  // namespace lockstep::api
