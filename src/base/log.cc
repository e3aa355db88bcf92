// SPDX-License-Identifier: Apache-2.0
#include "base/log.h"

#include <cstdio>

namespace lockstep {

namespace {

void print_to_stderr(LogLevel level, std::string_view message) {
    static constexpr const char* kNames[] = {"debug", "info", "warning", "error"};
    std::fprintf(stderr, "lockstep: %s: %.*s\n", kNames[static_cast<int>(level)],
                 static_cast<int>(message.size()), message.data());
}

LogSink log_sink = print_to_stderr;
LogLevel least_level = LogLevel::kInfo;

}  // namespace

void set_log_sink(LogSink sink, LogLevel least) {
    log_sink = sink;
    least_level = least;
}

bool log_enabled(LogLevel level) { return level >= least_level; }

void log_message(LogLevel level, std::string_view message) {
    if (log_enabled(level)) log_sink(level, message);
}

}  // namespace lockstep
