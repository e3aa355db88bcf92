// SPDX-License-Identifier: Apache-2.0
#include <sys/time.h>
#include <unistd.h>

#include <ctime>

#include "base/log.h"
#include "lockstep/commands.h"

namespace lockstep {

namespace {

const char* g_line_end = "\n";  // of the log sink, which can't carry state

const char* level_name(LogLevel level) {
    switch (level) {
        case LogLevel::kDebug:
            return "debug";
        case LogLevel::kInfo:
            return "info";
        case LogLevel::kWarning:
            return "warning";
        case LogLevel::kError:
            return "error";
    }
    return "";
}

void write_line(LogLevel level, std::string_view message) {
    timeval now{};
    gettimeofday(&now, nullptr);
    tm local{};
    localtime_r(&now.tv_sec, &local);
    std::string line = fmt::format("{:02}:{:02}:{:02}.{:03} {}: {}{}", local.tm_hour, local.tm_min,
                                   local.tm_sec, now.tv_usec / 1000, level_name(level), message, g_line_end);
    // One write a line, so that the lines of several processes don't mix.
    if (::write(STDERR_FILENO, line.data(), line.size()) < 0) return;
}

}  // namespace

void log_to_standard_error(bool raw_terminal) {
    g_line_end = raw_terminal ? "\r\n" : "\n";
    set_log_sink(write_line, std::getenv("LOCKSTEP_DEBUG") ? LogLevel::kDebug : LogLevel::kInfo);
}

}  // namespace lockstep
