// SPDX-License-Identifier: Apache-2.0
#include "host/spawn.h"

#include <spawn.h>

#include <csignal>
#include <cstring>

extern char** environ;

namespace lockstep::host {

namespace {

class SpawnSettings {
  public:
    explicit SpawnSettings(const std::vector<PassedDescriptor>& descriptors) {
        posix_spawn_file_actions_init(&actions_);
        for (const PassedDescriptor& passed : descriptors)
            posix_spawn_file_actions_adddup2(&actions_, passed.here, passed.there);
        posix_spawnattr_init(&attributes_);
        sigset_t none, all;
        sigemptyset(&none);
        sigfillset(&all);
        posix_spawnattr_setsigmask(&attributes_, &none);
        posix_spawnattr_setsigdefault(&attributes_, &all);
        posix_spawnattr_setflags(
            &attributes_,
            static_cast<short>(POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF));
    }
    ~SpawnSettings() {
        posix_spawn_file_actions_destroy(&actions_);
        posix_spawnattr_destroy(&attributes_);
    }
    SpawnSettings(const SpawnSettings&) = delete;
    SpawnSettings& operator=(const SpawnSettings&) = delete;

    const posix_spawn_file_actions_t* actions() const { return &actions_; }
    const posix_spawnattr_t* attributes() const { return &attributes_; }

  private:
    posix_spawn_file_actions_t actions_;
    posix_spawnattr_t attributes_;
};

}  // namespace

Result<pid_t> spawn_self(std::vector<std::string> arguments,
                         const std::vector<PassedDescriptor>& descriptors) {
    std::vector<char*> pointers;
    for (std::string& argument : arguments) pointers.push_back(argument.data());
    pointers.push_back(nullptr);
    SpawnSettings settings(descriptors);
    pid_t process = 0;
    int problem = posix_spawn(&process, "/proc/self/exe", settings.actions(), settings.attributes(),
                              pointers.data(), environ);
    if (problem) return error("cannot start a process: {}", std::strerror(problem));
    return process;
}

}  // namespace lockstep::host
