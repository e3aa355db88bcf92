// SPDX-License-Identifier: Apache-2.0
#include "host/system_calls.h"

#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>

namespace lockstep::host {

namespace {

#define CALL(name) SCMP_SYS(name)

// What the engine, the event loop and their libraries call, sorted by what it is for.
constexpr int kAllowed[] = {
    // Memory: the guest's, the window, translated code.
    CALL(brk), CALL(mmap), CALL(munmap), CALL(mprotect), CALL(mremap), CALL(madvise), CALL(msync),
    CALL(mincore), CALL(mlock), CALL(mlock2), CALL(munlock), CALL(memfd_create), CALL(membarrier),
    // Threads, signals, time.
    CALL(futex), CALL(futex_waitv), CALL(set_robust_list), CALL(get_robust_list), CALL(rseq),
    CALL(set_tid_address), CALL(exit), CALL(exit_group), CALL(gettid), CALL(getpid), CALL(getppid),
    CALL(rt_sigaction), CALL(rt_sigprocmask), CALL(rt_sigreturn), CALL(rt_sigtimedwait), CALL(rt_sigpending),
    CALL(rt_sigsuspend), CALL(sigaltstack), CALL(restart_syscall), CALL(wait4), CALL(waitid),
    CALL(clock_gettime), CALL(clock_getres), CALL(clock_nanosleep), CALL(nanosleep), CALL(gettimeofday),
    CALL(time), CALL(getrusage), CALL(times), CALL(sched_yield), CALL(sched_getaffinity),
    CALL(sched_setaffinity), CALL(sched_setattr), CALL(sched_getattr), CALL(sched_getparam),
    CALL(sched_getscheduler), CALL(sched_setscheduler), CALL(sched_get_priority_max),
    CALL(sched_get_priority_min), CALL(setpriority), CALL(getpriority), CALL(getcpu), CALL(arch_prctl),
    CALL(set_mempolicy), CALL(get_mempolicy),
    // Files: which of them, Landlock and the user's rights say.
    CALL(open), CALL(openat), CALL(close), CALL(close_range), CALL(read), CALL(write), CALL(readv),
    CALL(writev), CALL(pread64), CALL(pwrite64), CALL(preadv), CALL(pwritev), CALL(preadv2), CALL(pwritev2),
    CALL(lseek), CALL(fsync), CALL(fdatasync), CALL(ftruncate), CALL(fallocate), CALL(flock), CALL(fcntl),
    CALL(dup), CALL(dup2), CALL(dup3), CALL(pipe2), CALL(stat), CALL(fstat), CALL(lstat), CALL(newfstatat),
    CALL(statx), CALL(statfs), CALL(fstatfs), CALL(access), CALL(faccessat), CALL(faccessat2), CALL(readlink),
    CALL(readlinkat), CALL(getcwd), CALL(getdents64), CALL(mkdir), CALL(mkdirat), CALL(rmdir), CALL(unlink),
    CALL(unlinkat), CALL(rename), CALL(renameat), CALL(renameat2), CALL(link), CALL(linkat), CALL(symlink),
    CALL(symlinkat), CALL(fchmod), CALL(fchmodat), CALL(umask), CALL(utimensat),
    // The loop: sockets, timers, requests to disks.
    CALL(epoll_create1), CALL(epoll_ctl), CALL(epoll_wait), CALL(epoll_pwait), CALL(epoll_pwait2), CALL(poll),
    CALL(ppoll), CALL(select), CALL(pselect6), CALL(eventfd2), CALL(timerfd_create), CALL(timerfd_settime),
    CALL(timerfd_gettime), CALL(io_uring_enter), CALL(bind), CALL(listen), CALL(accept), CALL(accept4),
    CALL(connect), CALL(shutdown), CALL(getsockname), CALL(getpeername), CALL(getsockopt), CALL(setsockopt),
    CALL(sendto), CALL(recvfrom), CALL(sendmsg), CALL(recvmsg), CALL(sendmmsg), CALL(recvmmsg),
    // Who am I, how much is there.
    CALL(getuid), CALL(geteuid), CALL(getgid), CALL(getegid), CALL(getresuid), CALL(getresgid),
    CALL(getgroups), CALL(getpgrp), CALL(getpgid), CALL(getsid), CALL(uname), CALL(sysinfo), CALL(getrandom),
    CALL(getrlimit), CALL(prlimit64), CALL(capget)};
#undef CALL

constexpr unsigned long kIoctls[] = {
    TIOCGWINSZ,          FIONREAD,    FIONBIO,        TIOCOUTQ,      0x5401 /* TCGETS */,
    0x5402 /* TCSETS */, 0x5403,      0x5404,         TUNSETOFFLOAD, TUNGETIFF,
    SIOCGIFFLAGS,        SIOCETHTOOL, SIOCDEVPRIVATE, SIOCGIFINDEX,  SIOCGIFNAME};
constexpr int kSocketFamilies[] = {AF_UNIX, AF_INET, AF_INET6};
constexpr unsigned long kNewNamespaces =
    CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET;
constexpr int kProcessSettings[] = {PR_SET_NAME, PR_GET_NAME, PR_SET_VMA, PR_SET_PDEATHSIG, PR_GET_DUMPABLE};

/// A call whose argument is that; 32 bits of it, as the kernel reads them.
scmp_arg_cmp argument(unsigned number, uint64_t value) {
    constexpr uint64_t kLow = 0xffffffff;
    return {.arg = number, .op = SCMP_CMP_MASKED_EQ, .datum_a = kLow, .datum_b = value & kLow};
}

/// One in which none of these bits is set.
scmp_arg_cmp without_bits(unsigned number, uint64_t bits) {
    return {.arg = number, .op = SCMP_CMP_MASKED_EQ, .datum_a = bits, .datum_b = 0};
}

class Filter {
  public:
    Filter() : filter_(seccomp_init(SCMP_ACT_ERRNO(EPERM)), seccomp_release) {
        problem_ = filter_ ? 0 : -ENOMEM;
        note(seccomp_attr_set(filter_.get(), SCMP_FLTATR_CTL_TSYNC, 1));
        note(seccomp_attr_set(filter_.get(), SCMP_FLTATR_CTL_OPTIMIZE, 2));  // a tree: hundreds of calls
    }
    void allow(int call) { note(seccomp_rule_add(filter_.get(), SCMP_ACT_ALLOW, call, 0)); }
    void allow(int call, scmp_arg_cmp where) {
        note(seccomp_rule_add_array(filter_.get(), SCMP_ACT_ALLOW, call, 1, &where));
    }
    /// Fails as if the kernel didn't know it.
    void hide(int call) { note(seccomp_rule_add(filter_.get(), SCMP_ACT_ERRNO(ENOSYS), call, 0)); }
    /// 0, or a negative errno.
    int load() {
        if (problem_ == 0) note(seccomp_load(filter_.get()));
        return problem_;
    }

  private:
    void note(int result) {
        if (result < 0 && problem_ == 0) problem_ = result;
    }
    std::unique_ptr<void, void (*)(scmp_filter_ctx)> filter_;
    int problem_;
};

}  // namespace

Result<void> restrict_system_calls() {
    Filter filter;
    for (int call : kAllowed) filter.allow(call);
    for (unsigned long request : kIoctls) filter.allow(SCMP_SYS(ioctl), argument(1, request));
    for (int family : kSocketFamilies) filter.allow(SCMP_SYS(socket), argument(0, family));
    filter.allow(SCMP_SYS(socketpair), argument(0, AF_UNIX));
    for (int setting : kProcessSettings) filter.allow(SCMP_SYS(prctl), argument(0, setting));
    // Signals to itself.
    for (int call : {SCMP_SYS(kill), SCMP_SYS(tgkill)}) filter.allow(call, argument(0, ::getpid()));
    // Threads, and the watcher of this process's death. clone3() has its flags in memory; the library does without.
    filter.allow(SCMP_SYS(clone), without_bits(0, kNewNamespaces));
    filter.hide(SCMP_SYS(clone3));
    if (int problem = filter.load(); problem < 0)
        return error("the kernel takes no filter of system calls: {}", std::strerror(-problem));
    return {};
}

}  // namespace lockstep::host
