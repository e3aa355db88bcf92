// SPDX-License-Identifier: Apache-2.0
// The configuration file of a VM (TOML), as docs/operation.md describes it.
//
// One table names every key, with its section, meaning and reader; the check for unknown keys and the
// reference that `lockstep config-keys` prints are made from it. A bad value gets one sentence: file, line,
// key, remedy.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "vmm/settings.h"

namespace lockstep::control {

/// Reads and checks the file at `path`. A relative path in it counts from the file's folder.
Result<vmm::VmSettings> load_config(const std::string& path);

/// The folder of the VMs that this host's daemon looks after: NAME.toml each.
std::string vm_folder();

/// The path meant by `name`: "web" is also the configuration web.toml of the configuration folder, or of the one above.
std::string find_config(const std::string& name);

/// The same from text; `file` is the name for messages and the origin of relative paths.
Result<vmm::VmSettings> parse_config(std::string_view text, const std::string& file);

/// A row of the table of keys, for the reference.
struct ConfigKey {
    std::string_view section;  ///< "vm", "disk" (repeated), ...
    std::string_view name;
    std::string_view kind;  ///< what sort of value: "text", "size", ...
    std::string_view meaning;
    bool required;
};
std::span<const ConfigKey> config_keys();

/// "1 GiB", "512 MiB", "4096 KiB" or plain bytes, as a number of bytes.
Result<uint64_t> parse_size(std::string_view text);

/// The candidate nearest to `word` by letters changed; empty where none is near.
std::string nearest_word(std::string_view word, std::span<const std::string_view> candidates);

}  // namespace lockstep::control
