// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "host/role.h"

namespace lockstep::api {

/// Who asks, as the certificate says.
struct Caller {
    std::string name;
    host::Role role = host::Role::kViewer;
};

}  // namespace lockstep::api
