// SPDX-License-Identifier: Apache-2.0
// The API's own document (OpenAPI 3.1), made from the tables of routes, actions, fields and problems.
#pragma once

#include "control/actions.h"

namespace lockstep::api {

using control::Json;

Json document();
/// The arguments of an action: name, kind, meaning, required, choices.
Json arguments_json(const control::Action& action);

}  // namespace lockstep::api
