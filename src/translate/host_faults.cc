// SPDX-License-Identifier: Apache-2.0
#include "translate/host_faults.h"

#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <algorithm>
#include <iterator>
#include <mutex>

#include "base/check.h"
#include "cpu/cpu_state.h"
#include "x86/paging.h"

#ifndef SS_AUTODISARM
#define SS_AUTODISARM (1U << 31)
#endif

namespace lockstep::translate {

namespace {

thread_local HostFaults* current = nullptr;

constexpr int kFaultSignals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL};
constexpr size_t kSignalStackSize = 64 << 10;

int stop_signal() { return SIGRTMIN + 4; }

/// The alternative stack of a thread, for as long as the thread lives.
struct SignalStack {
    void* memory = nullptr;
    SignalStack() {
        memory = mmap(nullptr, kSignalStackSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        stack_t stack{};
        stack.ss_sp = memory;
        stack.ss_size = kSignalStackSize;
        stack.ss_flags = static_cast<int>(SS_AUTODISARM);
        CHECK(memory != MAP_FAILED && sigaltstack(&stack, nullptr) == 0,
              "no signal stack for the vCPU thread");
    }
    ~SignalStack() {
        stack_t stack{};
        stack.ss_flags = SS_DISABLE;
        sigaltstack(&stack, nullptr);
        munmap(memory, kSignalStackSize);
    }
};

/// Who had these signals before, and has what isn't the guest's.
struct sigaction former_actions[std::size(kFaultSignals)];

// The instruction faults again; what was sent must be sent again.
void pass_on(int signal, bool sent) {
    size_t index = static_cast<size_t>(std::find(std::begin(kFaultSignals), std::end(kFaultSignals), signal) -
                                       std::begin(kFaultSignals));
    sigaction(signal, &former_actions[index], nullptr);
    if (sent) raise(signal);
}

}  // namespace

bool HostFaults::is_failed_return(const long long* registers) {
    constexpr unsigned kMostTimes = 3;  // a tick of the clock at just this instruction is rare enough
    auto pc = static_cast<uint64_t>(registers[REG_RIP]), rsp = static_cast<uint64_t>(registers[REG_RSP]);
    auto counter = static_cast<uint64_t>(registers[REG_R11]);
    if (registers[REG_TRAPNO] != cpu::kGp || x86::is_canonical(rsp)) return false;
    FailedReturn& last = failed_return_;
    bool same = last.pc == pc && last.rsp == rsp && last.counter == counter;
    last = {pc, rsp, counter, same ? last.times + 1 : 1};
    if (last.times <= kMostTimes) return true;
    last = {};
    return false;
}

void HostFaults::return_by_trampoline(long long* registers) {
    EngineState& state = cache_.state();
    auto pc = static_cast<uint64_t>(registers[REG_RIP]);
    if (pc != reinterpret_cast<uint64_t>(trampolines_.unparked))
        state.parked = {static_cast<uint64_t>(registers[REG_RSP]), pc};
    registers[REG_RSP] = static_cast<greg_t>(state.host_stack);
    registers[REG_RIP] = reinterpret_cast<greg_t>(trampolines_.unpark);
}

void handle_fault(int signal, void* info, void* context) {
    auto* details = static_cast<siginfo_t*>(info);
    auto& registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
    auto* pc = reinterpret_cast<uint8_t*>(registers[REG_RIP]);
    if (current && current->cache_.contains(pc) && current->is_failed_return(registers))
        return current->return_by_trampoline(registers);
    bool sent = details->si_code <= 0;  // by somebody, not by the CPU
    if (sent || !current || !current->cache_.in_blocks(pc)) return pass_on(signal, sent);
    EngineState& state = current->cache_.state();
    state.fault = {static_cast<int>(registers[REG_TRAPNO]), static_cast<uint64_t>(registers[REG_RIP]),
                   reinterpret_cast<uint64_t>(details->si_addr), static_cast<uint64_t>(registers[REG_R12]),
                   static_cast<uint64_t>(registers[REG_R13])};
    registers[REG_RIP] = reinterpret_cast<greg_t>(current->trampolines_.fault);
    if (!x86::is_canonical(static_cast<uint64_t>(registers[REG_RSP])))
        current->return_by_trampoline(registers);
}

void handle_stop(void* context) {
    if (!current) return;
    auto& registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
    auto* pc = reinterpret_cast<const uint8_t*>(registers[REG_RIP]);
    const Trampolines& trampolines = current->trampolines_;
    EngineState& state = current->cache_.state();
    if (pc == trampolines.unpark || pc == trampolines.unparked)
        pc = reinterpret_cast<const uint8_t*>(state.parked.pc);
    bool in_jump_miss = pc >= trampolines.jump_misses && pc < trampolines.jump_misses_end;
    if (current->cache_.in_blocks(pc) || pc == trampolines.loaded || in_jump_miss) {
        if (registers[REG_R11] < 0) registers[REG_R11] += static_cast<greg_t>(kStopBias);
    } else if (pc >= reinterpret_cast<const uint8_t*>(trampolines.enter) && pc < trampolines.loaded) {
        if (static_cast<int64_t>(state.counter) < 0) state.counter += kStopBias;
    } else if (!current->cache_.contains(pc)) {
        // In C++: the flag is looked at before the next entry, but this may be between the look and the
        // entry.
        if (static_cast<int64_t>(state.counter) < 0) state.counter += kStopBias;
    }
}

namespace {

void install_handlers() {
    struct sigaction action {};
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    sigaddset(&action.sa_mask, stop_signal());  // it looks for the counter where the thread has it
    action.sa_sigaction = [](int signal, siginfo_t* info, void* context) {
        handle_fault(signal, info, context);
    };
    for (size_t i = 0; i < std::size(kFaultSignals); ++i)
        CHECK(sigaction(kFaultSignals[i], &action, &former_actions[i]) == 0);
    action.sa_mask = {};
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART;
    action.sa_sigaction = [](int, siginfo_t*, void* context) { handle_stop(context); };
    CHECK(sigaction(stop_signal(), &action, nullptr) == 0);
}

}  // namespace

HostFaults::~HostFaults() {
    if (current == this) current = nullptr;
}

void HostFaults::enter_thread() {
    static std::once_flag installed;
    std::call_once(installed, install_handlers);
    static thread_local SignalStack stack;
    current = this;
    thread_ = pthread_self();
    in_thread_.store(true);
}

void HostFaults::leave_thread() {
    in_thread_.store(false);
    current = nullptr;
}

void HostFaults::request_stop(StopUrgency urgency) {
    if (urgency == StopUrgency::kAtGlance) {
        Request none = Request::kNone;
        request_.compare_exchange_strong(none, Request::kQuiet);
        return;
    }
    // A request that hasn't been taken yet has sent its signal, or is about to: one is enough for all.
    if (request_.exchange(Request::kSignalled) == Request::kSignalled) return;
    if (in_thread_.load()) pthread_kill(thread_, stop_signal());
}

}  // namespace lockstep::translate
