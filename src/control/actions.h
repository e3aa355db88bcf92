// SPDX-License-Identifier: Apache-2.0
// The list of actions: everything that can be asked of a running VM, in one table.
//
// The control socket (a JSON object a line) and the command line are views of it. A request names an action
// and its arguments:
//
//     {"action": "protect", "host": "10.1.0.2:7700"}   ->   {"done": "VM web asks 10.1.0.2:7700 ..."}
//     {"action": "status"}                             ->   {"name": "web", "state": "Protected", ...}
//     {"action": "protect"} on a backup                ->   {"error": "protect is not possible on ..."}
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "replica/state.h"
#include "vmm/vm_process.h"

namespace lockstep::control {

using Json = nlohmann::json;

/// A set of replica::State.
using States = uint32_t;
constexpr States state_bit(replica::State state) { return States{1} << static_cast<unsigned>(state); }

struct Argument {
    std::string_view name;
    std::string_view meaning;
    bool required;
};

struct Action {
    std::string_view name;
    std::string_view meaning;
    std::span<const Argument> arguments;
    States legal;                ///< the states in which it may be asked for
    std::string_view otherwise;  ///< what to do in the other states
    std::string_view reply;      ///< what the answer holds
    Result<Json> (*run)(vmm::VmProcess& vm, const Json& request);
};

std::span<const Action> actions();
const Action* find_action(std::string_view name);

/// Checks a request against the table and carries it out. The answer is an object; "error" says why not.
Json answer_request(vmm::VmProcess& vm, const Json& request);

/// The status of a VM as JSON, for programs; docs/operation.md lists the fields.
Json status_json(const vmm::VmStatus& status);
/// The same as lines for people: first what an operator needs; the counters of log and engine if wanted.
enum class Counters : uint8_t { kLeftOut, kShown };
std::string status_text(const Json& status, Counters counters = Counters::kLeftOut);

}  // namespace lockstep::control
