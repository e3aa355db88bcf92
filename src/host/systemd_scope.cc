// SPDX-License-Identifier: Apache-2.0
#include "host/systemd_scope.h"

#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "base/log.h"
#include "host/files.h"

extern char** environ;

namespace lockstep::host {

namespace {

constexpr char kBusctl[] = "/usr/bin/busctl";

bool is_in_service() {
    Result<std::string> groups = read_text("/proc/self/cgroup");
    return groups && groups.value().find("/lockstep.service") != std::string::npos;
}

/// Its exit status; -1 where it can't be run.
int run(std::vector<std::string> words) {
    std::vector<char*> pointers;
    for (std::string& word : words) pointers.push_back(word.data());
    pointers.push_back(nullptr);
    pid_t process = 0;
    if (::posix_spawn(&process, kBusctl, nullptr, nullptr, pointers.data(), environ) != 0) return -1;
    int status = 0;
    while (::waitpid(process, &status, 0) < 0)
        if (errno != EINTR) return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

}  // namespace

// Before=: when the host shuts down, what is started later is stopped first.
std::vector<std::string> scope_arguments(const std::string& vm, int process) {
    return {"busctl",
            "--quiet",
            "--timeout=5",
            "call",
            "org.freedesktop.systemd1",
            "/org/freedesktop/systemd1",
            "org.freedesktop.systemd1.Manager",
            "StartTransientUnit",
            "ssa(sv)a(sa(sv))",
            fmt::format("lockstep-{}-{}.scope", vm, process),
            "fail",
            "5",
            "Description",
            "s",
            fmt::format("VM {} of Lockstep", vm),
            "PIDs",
            "au",
            "1",
            std::to_string(process),
            "Slice",
            "s",
            "lockstep.slice",
            "Before",
            "as",
            "1",
            "lockstep-evacuate.service",
            "CollectMode",
            "s",
            "inactive-or-failed",
            "0"};
}

void enter_own_scope(const std::string& vm) {
    if (::access("/run/systemd/system", F_OK) != 0 || !is_in_service()) return;
    if (int status = run(scope_arguments(vm, ::getpid())); status != 0)
        log_warning(
            "VM {}: systemd gives its process no scope ({} ended with status {}); it ends with "
            "lockstep.service "
            "if that is stopped with KillMode=control-group",
            vm, kBusctl, status);
}

}  // namespace lockstep::host
