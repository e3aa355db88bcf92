// SPDX-License-Identifier: Apache-2.0
#include "log_command/log_command.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "record/entry_table.h"
#include "record/inspect.h"

namespace lockstep {

namespace {

/// Entries of a long list are printed in pieces of so many.
constexpr uint64_t kEntriesAtOnce = 10'000;

/// What the subcommands' options are read into.
struct LogArguments {
    std::vector<std::string> files;
    std::optional<double> host_seconds;
    uint64_t first = 0;
    uint64_t count = ~uint64_t{0};
    std::string kind;
};

record::LogCursor open_log(const std::string& path) {
    auto file = std::make_shared<std::ifstream>(path, std::ios::binary);
    int reason = file->is_open() ? 0 : errno;
    return record::LogCursor(path, [file, reason](std::span<uint8_t> buffer) -> Result<size_t> {
        if (reason)
            return error("cannot open it ({}); check the path and its permissions", std::strerror(reason));
        file->read(reinterpret_cast<char*>(buffer.data()), static_cast<std::streamsize>(buffer.size()));
        if (file->bad()) return error("reading failed; check the disk, and that this is a file");
        return static_cast<size_t>(file->gcount());
    });
}

/// Prints; a problem ends the program with exit status 1.
void show(const record::Inspection& inspection) {
    std::fwrite(inspection.text.data(), 1, inspection.text.size(), stdout);
    if (inspection.problem.empty()) return;
    std::fflush(stdout);
    std::fprintf(stderr, "lockstep: %s\n", inspection.problem.c_str());
    throw CLI::RuntimeError(1);
}

/// Shows an inspection of each file, all of them even where one has a problem.
template <typename Inspect>
void show_each(const std::vector<std::string>& files, Inspect inspect) {
    bool problem = false;
    for (const std::string& path : files) {
        if (&path != &files.front()) std::putchar('\n');
        try {
            record::LogCursor log = open_log(path);
            show(inspect(log));
        } catch (const CLI::RuntimeError&) {
            problem = true;
        }
    }
    if (problem) throw CLI::RuntimeError(1);
}

void show_entries(const LogArguments& arguments) {
    record::LogCursor log = open_log(arguments.files.front());
    record::EntryRange range;
    range.first = LogPos(arguments.first);
    for (record::EntryKind kind : record::entry_kinds()) {
        if (record::entry_name(kind) == arguments.kind) range.kind = kind;
    }
    for (uint64_t left = arguments.count; left > 0; left -= range.most) {
        range.most = std::min(left, kEntriesAtOnce);
        record::Inspection inspection = list_entries(log, range);
        show(inspection);
        if (inspection.text.empty()) break;
    }
}

std::vector<std::string> kind_names() {
    std::vector<std::string> names;
    for (record::EntryKind kind : record::entry_kinds()) names.emplace_back(record::entry_name(kind));
    return names;
}

CLI::App* add_command(CLI::App& group, const char* name, const char* text,
                      const std::shared_ptr<LogArguments>& arguments, int least_files, int most_files) {
    CLI::App* command = group.add_subcommand(name, text);
    command->add_option("file", arguments->files, "a log")->required()->expected(least_files, most_files);
    return command;
}

}  // namespace

void add_log_commands(CLI::App& program) {
    constexpr int kAny = 1'000'000;
    auto arguments = std::make_shared<LogArguments>();
    CLI::App& group = *program.add_subcommand("log", "look into a log");
    group.require_subcommand(1);

    CLI::App* summary = add_command(group, "summary", "who recorded, entries and bytes by kind and second",
                                    arguments, 1, kAny);
    summary->add_option("--host-seconds", arguments->host_seconds,
                        "how long the recording took, where you know it");
    summary->callback([arguments] {
        show_each(arguments->files, [&](auto& log) { return summarise(log, arguments->host_seconds); });
    });

    CLI::App* entries = add_command(group, "entries", "one line for each entry", arguments, 1, 1);
    entries->add_option("--first", arguments->first, "log position to begin at");
    entries->add_option("--count", arguments->count, "entries to show at most");
    entries->add_option("--kind", arguments->kind, "entries of this kind alone")
        ->check(CLI::IsMember(kind_names()));
    entries->callback([arguments] { show_entries(*arguments); });

    CLI::App* hashes = add_command(group, "hashes", "one line for each state hash", arguments, 1, 1);
    hashes->callback([arguments] { show_each(arguments->files, record::list_state_hashes); });

    CLI::App* verify =
        add_command(group, "verify", "check structure, checksums, order and payloads", arguments, 1, kAny);
    verify->callback([arguments] { show_each(arguments->files, record::verify); });

    CLI::App* diff = add_command(group, "diff", "the first difference between two logs", arguments, 2, 2);
    diff->callback([arguments] {
        record::LogCursor left = open_log(arguments->files[0]), right = open_log(arguments->files[1]);
        show(first_difference(left, right));
    });
}

}  // namespace lockstep
