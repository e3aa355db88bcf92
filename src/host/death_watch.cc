// SPDX-License-Identifier: Apache-2.0
#include "host/death_watch.h"

#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <new>

#include "base/check.h"
#include "host/thread_priority.h"

namespace lockstep::host {

struct DeathWatch::Shared {
    pthread_mutex_t life{};  ///< held as long as the holder lives
    std::atomic<int> guarded = -1;
};

namespace {

void make_robust(pthread_mutex_t& mutex) {
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    CHECK(pthread_mutex_init(&mutex, &attributes) == 0);
    pthread_mutexattr_destroy(&attributes);
}

constexpr char kName[] = "lockstep-watch";

/// What people see of this process in place of its parent's command line, which begins at the program's name.
void show_name() {
    ::prctl(PR_SET_NAME, kName);
    char* command_line = program_invocation_name;
    size_t size = std::strlen(command_line);
    std::memset(command_line, 0, size);
    std::memcpy(command_line, kName, std::min(size, sizeof kName - 1));
    // The rest are the arguments: one string after the other.
    if (environ && environ[0] > command_line + size)
        std::memset(command_line + size, 0, static_cast<size_t>(environ[0] - command_line) - size);
}

/// As fork(), but with one table of descriptors for both; nobody is told of the child's end.
pid_t fork_with_descriptors() {
    return static_cast<pid_t>(::syscall(SYS_clone, CLONE_FILES, nullptr, nullptr, nullptr, nullptr));
}

}  // namespace

// It must call nothing that relies on what only fork() prepares.
void DeathWatch::watch(Shared& shared, const std::function<void()>& afterwards) {
    show_name();
    prefer_this_thread();
    bool died = pthread_mutex_lock(&shared.life) == EOWNERDEAD;
    int socket = shared.guarded;
    if (died && socket >= 0) ::shutdown(socket, SHUT_WR);
    if (died && afterwards) afterwards();
    ::_exit(0);
}

DeathWatch::DeathWatch(const std::function<void()>& afterwards) {
    void* memory = mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED, "the host refuses a page of shared memory");
    shared_ = new (memory) Shared;
    make_robust(shared_->life);
    CHECK(pthread_mutex_lock(&shared_->life) == 0);
    sigset_t all, former;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &former);  // a terminal's Ctrl-C is not for the watcher
    watcher_ = fork_with_descriptors();
    if (watcher_ == 0) watch(*shared_, afterwards);
    pthread_sigmask(SIG_SETMASK, &former, nullptr);
}

DeathWatch::~DeathWatch() {
    pthread_mutex_unlock(&shared_->life);
    if (watcher_ > 0) ::waitpid(watcher_, nullptr, __WALL);
    munmap(shared_, sizeof(Shared));
}

void DeathWatch::guard(int socket) { shared_->guarded = socket; }

}  // namespace lockstep::host
