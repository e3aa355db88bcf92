// SPDX-License-Identifier: Apache-2.0
#include "control/config_value.h"

#include <filesystem>

#include "base/check.h"
#include "control/config.h"

namespace lockstep::control {

namespace {

std::string shown(const toml::node& node) {
    if (auto text = node.value_exact<std::string>()) return fmt::format("\"{}\"", *text);
    if (auto number = node.value_exact<int64_t>()) return fmt::format("{}", *number);
    if (auto number = node.value_exact<double>()) return fmt::format("{}", *number);
    if (auto flag = node.value_exact<bool>()) return *flag ? "true" : "false";
    if (node.is_array()) return "a list";
    if (node.is_table()) return "a table";
    return "a date or time";
}

std::string size_text(uint64_t bytes) {
    struct Unit {
        uint64_t bytes;
        const char* name;
    };
    for (Unit unit : {Unit{1ull << 30, "GiB"}, Unit{1ull << 20, "MiB"}, Unit{1ull << 10, "KiB"}})
        if (bytes >= unit.bytes && bytes % unit.bytes == 0)
            return fmt::format("{} {}", bytes / unit.bytes, unit.name);
    return fmt::format("{}", bytes);
}

}  // namespace

std::string place_of(const std::string& file, const toml::node& node) {
    return fmt::format("{}:{}", file, node.source().begin.line);
}

Result<toml::table> parse_toml(std::string_view text, const std::string& file) {
    try {
        return toml::parse(text, file);
    } catch (const toml::parse_error& problem) {
        return error("{}:{}: this isn't TOML: {}; see docs/operation.md for an example", file,
                     problem.source().begin.line, problem.description());
    }
}

Error ConfigValue::bad(std::string_view problem) const {
    return error("{}: {} {}", place_of(file_, node_), key_, problem);
}

Error ConfigValue::bad_because(const Error& why) const {
    return error("{}: {}: {}", place_of(file_, node_), key_, why.message());
}

Result<std::string> ConfigValue::text() const {
    auto value = node_.value_exact<std::string>();
    if (!value) return bad(fmt::format("is {}, but must be text; put it in double quotes", shown(node_)));
    if (value->empty()) return bad("is empty; give it a value or remove the line");
    return *value;
}

Result<std::string> ConfigValue::path() const {
    std::filesystem::path path = TRY(text());
    if (path.is_absolute()) return path.lexically_normal().string();
    std::error_code ignored;
    auto folder = std::filesystem::absolute(file_, ignored).parent_path();
    return (folder / path).lexically_normal().string();
}

Result<bool> ConfigValue::flag() const {
    auto value = node_.value_exact<bool>();
    if (!value) return bad(fmt::format("is {}, but must be true or false, without quotes", shown(node_)));
    return *value;
}

Result<uint64_t> ConfigValue::number(vmm::Range range) const {
    auto value = node_.value_exact<int64_t>();
    if (!value || *value < 0 || static_cast<uint64_t>(*value) < range.least ||
        static_cast<uint64_t>(*value) > range.greatest)
        return bad(fmt::format("is {}, but must be a whole number from {} to {}, without quotes",
                               shown(node_), range.least, range.greatest));
    return static_cast<uint64_t>(*value);
}

Result<uint64_t> ConfigValue::size(vmm::Range range) const {
    Result<uint64_t> bytes = uint64_t{0};
    if (auto number = node_.value_exact<int64_t>(); number && *number >= 0)
        bytes = static_cast<uint64_t>(*number);
    else if (auto text = node_.value_exact<std::string>())
        bytes = parse_size(*text);
    else
        return bad(fmt::format("is {}, but must be a size such as \"1 GiB\"", shown(node_)));
    if (!bytes) return bad(fmt::format("is {}: {}", shown(node_), bytes.error().message()));
    if (bytes.value() < range.least || bytes.value() > range.greatest)
        return bad(fmt::format("is {}, but must be from \"{}\" to \"{}\"", shown(node_),
                               size_text(range.least), size_text(range.greatest)));
    return bytes;
}

Result<std::vector<std::string>> ConfigValue::texts() const {
    const toml::array* list = node_.as_array();
    if (!list)
        return bad(
            fmt::format("is {}, but must be a list of texts such as [\"one\", \"two\"]", shown(node_)));
    std::vector<std::string> values;
    for (const toml::node& element : *list) values.push_back(TRY(ConfigValue(element, file_, key_).text()));
    return values;
}

Result<size_t> ConfigValue::word(std::span<const std::string_view> words) const {
    std::string value = TRY(text());
    for (size_t i = 0; i < words.size(); ++i)
        if (words[i] == value) return i;
    std::string all;
    for (std::string_view word : words) all += fmt::format("{}\"{}\"", all.empty() ? "" : ", ", word);
    std::string near = nearest_word(value, words);
    return bad(fmt::format("is \"{}\", but must be one of {}{}", value, all,
                           near.empty() ? "" : fmt::format("; did you mean \"{}\"?", near)));
}

}  // namespace lockstep::control
