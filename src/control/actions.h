// SPDX-License-Identifier: Apache-2.0
// The list of actions: everything that can be asked of a running VM, in one table.
//
// The control socket (a JSON object a line), the command line, its manual page and completion, and the API are views of it. A
// request names an action and its arguments:
//
//     {"action": "protect", "host": "10.1.0.2:7700"}   ->   {"done": "VM web asks 10.1.0.2:7700 ..."}
//     {"action": "status"}                             ->   {"name": "web", "state": "Protected", ...}
//     {"action": "protect"} on a backup                ->   {"error": "protect is not possible ...", "code": "not-now", ...}
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "control/problem.h"
#include "host/role.h"
#include "replica/state.h"
#include "vmm/vm_process.h"

namespace lockstep::control {

/// A set of replica::State.
using States = uint32_t;
constexpr States state_bit(replica::State state) { return States{1} << static_cast<unsigned>(state); }

/// When an action may be asked for.
struct Occasion {
    std::string_view name;       ///< as in "while the guest runs here"
    States states;               ///< the VM's, on the host that is asked
    std::string_view otherwise;  ///< what to do in the other states; empty: there are none
};

/// What an argument, or a field of an answer, is.
enum class Kind : uint8_t { kText, kAddress, kChoice, kPath, kNumber, kInteger, kFlag, kObject, kList };

struct Argument {
    std::string_view name;
    Kind kind;
    std::string_view meaning;
    bool required;
    std::span<const std::string_view> choices = {};  ///< of kChoice; the first is the default
};

/// Of an answer.
struct Field {
    std::string_view name;
    Kind kind;
    std::string_view meaning;
};

struct Action {
    std::string_view name;
    std::string_view meaning;
    std::span<const Argument> arguments;
    const Occasion& occasion;
    host::Role role;  ///< who may ask for it by the API; the control socket is its owner's
    std::span<const Field> result;
    Result<Json> (*run)(vmm::VmProcess& vm, const Json& request);

    bool only_asks = false;  ///< it changes nothing
};

std::span<const Action> actions();
const Action* find_action(std::string_view name);
/// "protect VM [HOST]", as on the command line.
std::string synopsis_of(const Action& action);
/// "host", "\"planned\" or \"crash\"": what may stand there, for people.
std::string describe(const Argument& argument);

/// Why an action isn't possible in a state, by the table; null: it is. `state`: as in status_json().
Json refusal_in_state(const Action& action, const std::string& vm, std::string_view state);
/// Why a role doesn't suffice for an action; null: it does.
Json refusal_of_role(const Action& action, host::Role role);

/// Checks a request against the table and carries it out. The answer is an object, perhaps a problem.
Json answer_request(vmm::VmProcess& vm, const Json& request);
/// What is wrong with the arguments of a request; null: nothing.
Json check_arguments(const Action& action, const Json& request);

/// The status of a VM as JSON, for programs; docs/operation.md lists the fields.
Json status_json(const vmm::VmStatus& status);
/// The same as lines for people: first what an operator needs; the counters of log and engine if wanted.
enum class Counters : uint8_t { kLeftOut, kShown };
std::string status_text(const Json& status, Counters counters = Counters::kLeftOut);

}  // namespace lockstep::control
