// SPDX-License-Identifier: Apache-2.0
#include "host/evacuation.h"

#include <unistd.h>

#include <cerrno>

#include "host/files.h"

namespace lockstep::host {

namespace {

std::string mark(const std::string& runtime_base) { return runtime_base + "/.evacuated"; }

}  // namespace

Result<void> mark_evacuated(const std::string& runtime_base) {
    return write_file_atomically(mark(runtime_base), {});
}

Result<void> clear_evacuated(const std::string& runtime_base) {
    if (::unlink(mark(runtime_base).c_str()) == 0 || errno == ENOENT) return {};
    return file_error("remove", mark(runtime_base), errno);
}

bool is_evacuated(const std::string& runtime_base) { return ::access(mark(runtime_base).c_str(), F_OK) == 0; }

}  // namespace lockstep::host
