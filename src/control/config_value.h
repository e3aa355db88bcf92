// SPDX-License-Identifier: Apache-2.0
// One value of a configuration file, read with checks whose failures name file, line, key and remedy.
#pragma once

#include <toml++/toml.h>

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "vmm/settings_check.h"

namespace lockstep::control {

class ConfigValue {
  public:
    /// `key` is the full name for messages, as in "disk.path".
    ConfigValue(const toml::node& node, std::string file, std::string key)
        : node_(node), file_(std::move(file)), key_(std::move(key)) {}

    /// Text that isn't empty.
    Result<std::string> text() const;
    /// Text that is the path of a file; a relative one counts from the folder of the configuration.
    Result<std::string> path() const;
    Result<bool> flag() const;
    /// A whole number within `range`.
    Result<uint64_t> number(vmm::Range range) const;
    /// A number of bytes, as text with a unit or as a number.
    Result<uint64_t> size(vmm::Range range) const;
    /// A list of texts.
    Result<std::vector<std::string>> texts() const;
    /// One of `words`; the index of it.
    Result<size_t> word(std::span<const std::string_view> words) const;

    /// "file:line: key <problem>"
    Error bad(std::string_view problem) const;
    /// Passes a success on, and names the place of a failure: "file:line: key: <its sentence>".
    template <typename T>
    Result<void> checked(const Result<T>& result) const {
        if (!result) return bad_because(result.error());
        return {};
    }

  private:
    Error bad_because(const Error& why) const;

    const toml::node& node_;
    std::string file_;
    std::string key_;
};

/// "file:line" of a node.
std::string place_of(const std::string& file, const toml::node& node);

/// Fails with a sentence where the text is no TOML. `file` is its path.
Result<toml::table> parse_toml(std::string_view text, const std::string& file);

}  // namespace lockstep::control
