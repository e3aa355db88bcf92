// SPDX-License-Identifier: Apache-2.0
// What a person may do in a cluster. Each role may do all that those before it may.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

namespace lockstep::host {

enum class Role : uint8_t {
    kViewer,    ///< looks
    kOperator,  ///< also changes what runs, and types into consoles
    kAdmin,     ///< also what leaves files on a host
};

struct RoleRow {
    Role role;
    std::string_view name;
    std::string_view meaning;
};
inline constexpr std::array<RoleRow, 3> kRoles = {{
    {Role::kViewer, "viewer", "may look at everything but consoles, and change nothing"},
    {Role::kOperator, "operator", "may also change what runs, and use consoles"},
    {Role::kAdmin, "admin", "may also have files written on a host"},
}};

constexpr std::string_view name_of(Role role) { return kRoles[static_cast<size_t>(role)].name; }

/// None where there is no such role.
constexpr std::optional<Role> find_role(std::string_view name) {
    for (const RoleRow& row : kRoles)
        if (row.name == name) return row.role;
    return {};
}

}  // namespace lockstep::host
