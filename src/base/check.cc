// SPDX-License-Identifier: Apache-2.0
#include "base/check.h"

#include <cstdio>
#include <cstdlib>
#include <utility>

namespace lockstep {

namespace {
DumpHook dump_hook = nullptr;
}

void set_dump_hook(DumpHook hook) { dump_hook = hook; }

void check_failed(const char* file, int line, const char* condition, const std::string& message) {
    std::fprintf(stderr, "%s:%d: check failed: %s%s%s\n", file, line, condition, message.empty() ? "" : ": ",
                 message.c_str());
    if (DumpHook hook = std::exchange(dump_hook, nullptr)) hook();
    std::abort();
}

}  // namespace lockstep
