// SPDX-License-Identifier: Apache-2.0
#include "control/problem.h"

namespace lockstep::control {

namespace {

constexpr ProblemKind kKinds[] = {
    {kBadRequest, 400, 2, "the request makes no sense"},
    {kBadArgument, 400, 2, "an argument is missing, unknown, or not what it must be"},
    {kUnknownAction, 404, 2, "there is no such action"},
    {kNotNow, 409, 5, "the action isn't possible in the VM's state; the remedy says what to do first"},
    {kNotPermitted, 403, 6, "the role of who asks doesn't suffice"},
    {kFailed, 422, 1, "the action was tried, and failed"},
    {kNoSuchVm, 404, 1, "no VM of that name runs on this host"},
    {kNoAnswer, 504, 1, "the VM's process doesn't answer"},
    {kNotFound, 404, 1, "there is nothing at that path"},
    {kWrongMethod, 405, 2, "the path takes another method"},
    {kTooLarge, 413, 2, "the request is larger than any that makes sense"},
    {kTooMany, 503, 1, "too many connections or streams are open"},
};

}  // namespace

std::span<const ProblemKind> problem_kinds() { return kKinds; }

const ProblemKind& problem_kind(std::string_view code) {
    const ProblemKind* failed = nullptr;
    for (const ProblemKind& kind : kKinds) {
        if (kind.code == code) return kind;
        if (kind.code == kFailed) failed = &kind;
    }
    return *failed;
}

Json problem(std::string_view code, std::string sentence, std::string_view remedy) {
    Json answer = {{"error", std::move(sentence)}, {"code", code}};
    if (!remedy.empty()) answer["remedy"] = remedy;
    return answer;
}

bool is_problem(const Json& answer) {
    auto found = answer.find("error");
    return found != answer.end() && found->is_string();
}

const ProblemKind& problem_kind_of(const Json& answer) {
    auto found = answer.find("code");
    return problem_kind(found != answer.end() && found->is_string() ? found->get<std::string>()
                                                                    : std::string(kFailed));
}

}  // namespace lockstep::control
