// SPDX-License-Identifier: Apache-2.0
// Assertions that stay on in release builds: a crash is merely a fail-over, silent divergence is worse.
#pragma once

#include <fmt/format.h>

#include <string>

namespace lockstep {

/// Prints the failed condition with its place and message, calls the dump hook if one is set, aborts.
[[noreturn]] void check_failed(const char* file, int line, const char* condition, const std::string& message);

/// A function that prints the state of the process (flight recorder, registers) when a check fails.
using DumpHook = void (*)();
void set_dump_hook(DumpHook hook);

}  // namespace lockstep

#define CHECK(condition, ...)                                                                        \
    do {                                                                                             \
        if (!(condition)) [[unlikely]]                                                               \
            ::lockstep::check_failed(__FILE__, __LINE__, #condition, ::fmt::format("" __VA_ARGS__)); \
    } while (false)

/// For a place that isn't reached: unlike CHECK(false), the compiler knows it in every build.
#define NOT_REACHED(...) \
    ::lockstep::check_failed(__FILE__, __LINE__, "not reached", ::fmt::format("" __VA_ARGS__))
