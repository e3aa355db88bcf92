// SPDX-License-Identifier: Apache-2.0
#include "control/host_config.h"

#include <filesystem>

#include "control/config.h"
#include "control/config_value.h"
#include "host/address.h"
#include "host/files.h"

namespace lockstep::control {

namespace {

using Setter = Result<void> (*)(const ConfigValue& value, HostConfig& config);
struct Row {
    std::string_view section;
    std::string_view name;
    Setter set;
};

template <std::vector<std::string> vmm::Allowances::*list>
Result<void> set_list(const ConfigValue& value, HostConfig& config) {
    config.allowances.*list = TRY(value.texts());
    return {};
}

Result<void> set_folders(const ConfigValue& value, HostConfig& config) {
    config.allowances.folders = TRY(value.texts());
    for (const std::string& folder : config.allowances.folders)
        if (!std::filesystem::path(folder).is_absolute())
            return value.bad(fmt::format("holds {}, which must be an absolute path", folder));
    return {};
}

template <std::string HostConfig::*address>
Result<void> set_listen(const ConfigValue& value, HostConfig& config) {
    config.*address = TRY(value.text());
    return value.checked(host::SocketAddress::parse(config.*address));
}

Result<void> set_confine(const ConfigValue& value, HostConfig& config) {
    config.confinement.wanted = TRY(value.flag());
    return {};
}

Result<void> set_user(const ConfigValue& value, HostConfig& config) {
    config.confinement.user = TRY(value.text());
    return {};
}

Result<void> set_recordings(const ConfigValue& value, HostConfig& config) {
    config.confinement.recordings = TRY(value.path());
    return {};
}

constexpr Row kRows[] = {{"host", "listen", set_listen<&HostConfig::listen>},
                         {"host", "confine", set_confine},
                         {"host", "user", set_user},
                         {"host", "recordings", set_recordings},
                         {"api", "listen", set_listen<&HostConfig::api_listen>},
                         {"allow", "folders", set_folders},
                         {"allow", "bridges", set_list<&vmm::Allowances::bridges>},
                         {"allow", "taps", set_list<&vmm::Allowances::taps>}};

std::string known_keys(std::string_view section) {
    std::string names;
    for (const Row& row : kRows)
        if (row.section == section) names += fmt::format("{}{}", names.empty() ? "" : ", ", row.name);
    return names;
}

Result<void> read_key(std::string_view section, std::string_view name, const ConfigValue& value,
                      HostConfig& config) {
    for (const Row& row : kRows)
        if (row.section == section && row.name == name) return row.set(value, config);
    return value.bad(fmt::format("is no key of [{}]; known are {}", section, known_keys(section)));
}

}  // namespace

Result<HostConfig> parse_host_config(std::string_view text, const std::string& file) {
    toml::table root = TRY(parse_toml(text, file));
    HostConfig config;
    config.allowances.file = file;
    for (auto&& [section, node] : root) {
        const toml::table* table = node.as_table();
        if (known_keys(section.str()).empty() || !table)
            return error("{}: unknown section \"{}\"; there are [host], [api] and [allow]",
                         place_of(file, node), section.str());
        for (auto&& [key, value] : *table)
            TRY(read_key(section.str(), key.str(),
                         ConfigValue(value, file, fmt::format("{}.{}", section.str(), key.str())), config));
    }
    return config;
}

Result<HostConfig> load_host_config() {
    std::string file = host::config_folder() + "/host.toml";
    std::error_code ignored;
    if (!std::filesystem::exists(file, ignored)) return parse_host_config("", file);
    return parse_host_config(TRY(host::read_text(file)), file);
}

Result<vmm::Allowances> load_allowances() { return TRY(load_host_config()).allowances; }

}  // namespace lockstep::control
