// SPDX-License-Identifier: Apache-2.0
#include "control/host_config.h"

#include <filesystem>

#include "control/config.h"
#include "control/config_value.h"
#include "host/files.h"

namespace lockstep::control {

namespace {

struct Key {
    std::string_view name;
    std::vector<std::string> vmm::Allowances::*list;
};
constexpr Key kKeys[] = {{"folders", &vmm::Allowances::folders},
                         {"bridges", &vmm::Allowances::bridges},
                         {"taps", &vmm::Allowances::taps}};

Result<void> read_key(std::string_view name, const ConfigValue& value, vmm::Allowances& allowances) {
    for (const Key& key : kKeys)
        if (key.name == name) {
            allowances.*key.list = TRY(value.texts());
            return {};
        }
    return value.bad("is no key of [allow]; known are folders, bridges, taps");
}

Result<vmm::Allowances> read_tables(const toml::table& root, const std::string& file) {
    vmm::Allowances allowances;
    allowances.file = file;
    for (auto&& [section, node] : root) {
        const toml::table* table = node.as_table();
        if (section.str() != "allow" || !table)
            return error("{}: unknown section \"{}\"; the only one is [allow]", place_of(file, node),
                         section.str());
        for (auto&& [key, value] : *table)
            TRY(read_key(key.str(), ConfigValue(value, file, fmt::format("allow.{}", key.str())),
                         allowances));
    }
    for (const std::string& folder : allowances.folders)
        if (!std::filesystem::path(folder).is_absolute())
            return error("{}: allow.folders: {} must be an absolute path", file, folder);
    return allowances;
}

}  // namespace

Result<vmm::Allowances> parse_allowances(std::string_view text, const std::string& file) {
    return read_tables(TRY(parse_toml(text, file)), file);
}

Result<vmm::Allowances> load_allowances() {
    std::string file = host::config_folder() + "/host.toml";
    std::error_code ignored;
    if (!std::filesystem::exists(file, ignored)) return parse_allowances("", file);
    return parse_allowances(TRY(host::read_text(file)), file);
}

}  // namespace lockstep::control
