// SPDX-License-Identifier: Apache-2.0
/* Paths through the kernel, one at a time, so many times: paths NAME COUNT. Prints a checksum of what came back. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { kPage = 4096, kPages = 256 };

static uint64_t sum;

static void require(int good, const char *what) {
    if (good) return;
    perror(what);
    exit(1);
}

/* Enters the kernel and leaves it. */
static void null_call(long count) {
    for (long i = 0; i < count; i++) sum += syscall(SYS_getppid) > 0;
}

/* Writes to a pipe and reads it back in one process: the calls without a switch. */
static void pipe_alone(long count) {
    int ends[2];
    long value;
    require(pipe(ends) == 0, "pipe");
    for (long i = 0; i < count; i++) {
        require(write(ends[1], &i, sizeof i) == sizeof i && read(ends[0], &value, sizeof value) == sizeof value, "pipe");
        sum += value;
    }
}

/* Two processes hand a number to and fro: two switches between address spaces a time. */
static void switches(long count) {
    int there[2], back[2];
    long value;
    require(pipe(there) == 0 && pipe(back) == 0, "pipe");
    pid_t child = fork();
    require(child >= 0, "fork");
    for (long i = 0; i < count; i++) {
        if (child) {
            require(write(there[1], &i, sizeof i) == sizeof i, "write");
            require(read(back[0], &value, sizeof value) == sizeof value, "read");
            sum += value;
        } else {
            require(read(there[0], &value, sizeof value) == sizeof value, "read");
            require(write(back[1], &value, sizeof value) == sizeof value, "write");
        }
    }
    if (!child) _exit(0);
    waitpid(child, NULL, 0);
}

/* Maps memory, touches each page of it once, and unmaps it: so many page faults. */
static void faults(long count) {
    for (long i = 0; i < count; i += kPages) {
        char *memory = mmap(NULL, kPages * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        require(memory != MAP_FAILED, "mmap");
        madvise(memory, kPages * kPage, MADV_NOHUGEPAGE);
        for (int page = 0; page < kPages; page++) memory[page * kPage] = (char)page;
        sum += (unsigned char)memory[kPage];
        munmap(memory, kPages * kPage);
    }
}

/* Forks a process with 4 MiB that writes a quarter of its pages, and waits for it. */
static void forks(long count) {
    static char memory[1024 * kPage];
    memset(memory, 1, sizeof memory);
    for (long i = 0; i < count; i++) {
        pid_t child = fork();
        require(child >= 0, "fork");
        if (!child) {
            for (size_t at = 0; at < sizeof memory; at += 4 * kPage) memory[at]++;
            _exit(memory[0]);
        }
        int status;
        waitpid(child, &status, 0);
        sum += (uint64_t)WEXITSTATUS(status);
    }
}

/* Runs /bin/true: fork, exec, the dynamic loader, exit. */
static void execs(long count) {
    for (long i = 0; i < count; i++) {
        pid_t child = fork();
        if (!child) {
            execl("/bin/true", "true", (char *)NULL);
            _exit(1);
        }
        int status;
        waitpid(child, &status, 0);
        sum += status == 0;
    }
}

static void on_signal(int number) { sum += (uint64_t)number; }

/* Sends itself a signal that has a handler. */
static void signals(long count) {
    signal(SIGUSR1, on_signal);
    for (long i = 0; i < count; i++) raise(SIGUSR1);
}

/* Sleeps for 50 microseconds: a timer, the idle processor and an interrupt. */
static void sleeps(long count) {
    struct timespec duration = {0, 50000};
    for (long i = 0; i < count; i++) sum += (uint64_t)nanosleep(&duration, NULL) + 1;
}

/* Asks for the time, which needs no system call where the time stamp counter is trusted. */
static void clocks(long count) {
    struct timespec now;
    for (long i = 0; i < count; i++) sum += clock_gettime(CLOCK_MONOTONIC, &now) == 0;
}

static const struct {
    const char *name;
    void (*run)(long count);
} kPaths[] = {
    {"call", null_call}, {"pipe", pipe_alone}, {"switch", switches}, {"fault", faults}, {"fork", forks},
    {"exec", execs},     {"signal", signals},  {"sleep", sleeps},    {"clock", clocks},
};

int main(int argc, char **argv) {
    for (size_t i = 0; argc == 3 && i < sizeof kPaths / sizeof *kPaths; i++) {
        if (strcmp(argv[1], kPaths[i].name) != 0) continue;
        kPaths[i].run(atol(argv[2]));
        printf("%llx\n", (unsigned long long)sum);
        return 0;
    }
    fprintf(stderr, "usage: paths NAME COUNT\n");
    return 2;
}
