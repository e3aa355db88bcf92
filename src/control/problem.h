// SPDX-License-Identifier: Apache-2.0
// What may be wrong with a request: a stable code for programs, the status that HTTP has for it, and the program's exit status.
//
// An answer that is a problem has "error", a sentence, "code", and "remedy", what to do (where the sentence doesn't say it all).
#pragma once

#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>

namespace lockstep::control {

using Json = nlohmann::json;

struct ProblemKind {
    std::string_view code;
    int http_status;
    int exit_status;
    std::string_view meaning;
};

inline constexpr std::string_view kBadRequest = "bad-request";
inline constexpr std::string_view kBadArgument = "bad-argument";
inline constexpr std::string_view kUnknownAction = "unknown-action";
inline constexpr std::string_view kNotNow = "not-now";
inline constexpr std::string_view kNotPermitted = "not-permitted";
inline constexpr std::string_view kFailed = "failed";
inline constexpr std::string_view kNoSuchVm = "no-such-vm";
inline constexpr std::string_view kNoAnswer = "no-answer";
inline constexpr std::string_view kNotFound = "not-found";
inline constexpr std::string_view kWrongMethod = "wrong-method";
inline constexpr std::string_view kTooLarge = "too-large";
inline constexpr std::string_view kTooMany = "too-many";

std::span<const ProblemKind> problem_kinds();
/// That of a code; of one that isn't in the table, that of "failed".
const ProblemKind& problem_kind(std::string_view code);

/// An answer that says what is wrong.
Json problem(std::string_view code, std::string sentence, std::string_view remedy = "");
bool is_problem(const Json& answer);
/// Its kind.
const ProblemKind& problem_kind_of(const Json& answer);

}  // namespace lockstep::control
