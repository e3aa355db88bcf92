// SPDX-License-Identifier: Apache-2.0
#include "oracle_native.h"

#include <signal.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/ucontext.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>

#include "host/limits.h"

// oracle_enter.S
extern "C" {
void oracle_enter(const lockstep::instructions::UserState* state);
void oracle_signal_entry(int number, siginfo_t* info, void* context);
extern uint8_t oracle_has_fsgsbase, oracle_has_avx;
/// Called by oracle_signal_entry with the segment bases that it found; nonzero: leave the case.
int oracle_signal(int number, siginfo_t* info, void* context, uint64_t fs_base, uint64_t gs_base);
}

namespace lockstep::instructions {

static_assert(offsetof(UserState, rip) == 128 && offsetof(UserState, rflags) == 136);
static_assert(offsetof(UserState, fs_base) == 144 && offsetof(UserState, gs_base) == 152);
static_assert(offsetof(UserState, fx) == 192 && offsetof(UserState, upper_halves) == 704,
              "oracle_enter.S knows these offsets");

namespace {

// What the signal handler and run_native() share; a handler has no other way to be told.
struct Run {
    bool active = false;
    bool single_step = false;
    uint64_t number = 0;
    uint64_t number_at_tick = 0;
    unsigned ticks = 0;
    uint64_t previous_rip = 0;
    Outcome* outcome = nullptr;
};
Run current;

constexpr std::array<int, 16> kSignalRegisters = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP,
                                                  REG_RSI, REG_RDI, REG_R8,  REG_R9,  REG_R10, REG_R11,
                                                  REG_R12, REG_R13, REG_R14, REG_R15};
constexpr uint8_t kVectorDebug = 1;
constexpr uint8_t kVectorPageFault = 14;

bool is_prefix(uint8_t byte) {
    return (byte >= 0x40 && byte <= 0x4f) || byte == 0x66 || byte == 0x67 || byte == 0xf2 || byte == 0xf3 ||
           byte == 0x2e || byte == 0x36 || byte == 0x3e || byte == 0x26 || byte == 0x64 || byte == 0x65;
}

/// Whether a repeated string instruction is at `rip`: single-stepping stops after each of its steps.
bool at_repeated_string(uint64_t rip) {
    bool repeated = false;
    for (unsigned i = 0; i < 15 && image_offset(rip + i); ++i) {
        uint8_t byte = *reinterpret_cast<const uint8_t*>(rip + i);
        if (!is_prefix(byte))
            return repeated && ((byte >= 0xa4 && byte <= 0xa7) || (byte >= 0xaa && byte <= 0xaf));
        repeated |= byte == 0xf2 || byte == 0xf3;
    }
    return false;
}

/// Whether the trap at `rip` is that of INT1 (0xf1) and not of a step.
bool behind_int1(uint64_t rip) {
    uint64_t at = current.previous_rip;
    if (!at || rip <= at || rip - at > 15) return false;
    for (; at < rip - 1; ++at)
        if (!image_offset(at) || !is_prefix(*reinterpret_cast<const uint8_t*>(at))) return false;
    return image_offset(at) && *reinterpret_cast<const uint8_t*>(at) == 0xf1;
}

/// The vector registers and the x87's out of a signal frame; parts that XSAVE found in their first state may be absent there.
void copy_extended_state(const ucontext_t& context, UserState& state) {
    cpu::FxState& fx = state.fx;
    constexpr uint64_t kAvx = 4;
    constexpr size_t kUpperHalves = 576;
    constexpr size_t kMagicOffset = 464;
    constexpr uint32_t kMagic = 0x46505853;  // FP_XSTATE_MAGIC1
    const auto* frame = reinterpret_cast<const uint8_t*>(context.uc_mcontext.fpregs);
    std::memcpy(fx.bytes.data(), frame, fx.bytes.size());
    uint32_t magic;
    uint64_t present = 3;
    std::memcpy(&magic, frame + kMagicOffset, sizeof magic);
    if (magic == kMagic) std::memcpy(&present, frame + 512, sizeof present);
    if (!(present & 1)) {
        std::memset(fx.bytes.data(), 0, 24);
        std::memset(fx.bytes.data() + 32, 0, 128);
        fx.bytes[0] = 0x7f;
        fx.bytes[1] = 0x03;
    }
    if (!(present & 2)) std::memset(fx.bytes.data() + 160, 0, 256);
    bool has_upper = magic == kMagic && (present & kAvx);
    if (has_upper) std::memcpy(state.upper_halves.bytes.data(), frame + kUpperHalves, 256);
    if (!has_upper) state.upper_halves = {};
}

void capture(const ucontext_t& context, uint64_t fs_base, uint64_t gs_base, Outcome& outcome) {
    const greg_t* registers = context.uc_mcontext.gregs;
    outcome.vector = static_cast<uint8_t>(registers[REG_TRAPNO]);
    outcome.error_code = static_cast<uint32_t>(registers[REG_ERR]);
    outcome.cr2 = outcome.vector == kVectorPageFault ? static_cast<uint64_t>(registers[REG_CR2]) : 0;
    for (size_t i = 0; i < kSignalRegisters.size(); ++i)
        outcome.state.gpr[i] = static_cast<uint64_t>(registers[kSignalRegisters[i]]);
    outcome.state.rip = static_cast<uint64_t>(registers[REG_RIP]);
    outcome.state.rflags = static_cast<uint64_t>(registers[REG_EFL]);
    if (current.single_step) outcome.state.rflags &= ~uint64_t{cpu::kFlagTf};
    outcome.state.fs_base = fs_base;
    outcome.state.gs_base = gs_base;
    copy_extended_state(context, outcome.state);
}

/// One single-step trap: counts the instruction that has just retired.
void count_step(uint64_t rip) {
    if (!image_offset(rip) && !current.previous_rip) return;  // still in oracle_enter
    if (current.previous_rip && !(rip == current.previous_rip && at_repeated_string(rip)))
        ++current.outcome->retired;
    current.previous_rip = rip;
}

/// The clock's tick: a case that was already running many ticks ago never ends.
bool has_timed_out() {
    constexpr unsigned kTicks = 8;  // late ones come in a burst, and a strict sandbox has no clock to ask
    bool same_case = current.active && current.number == current.number_at_tick;
    current.ticks = same_case ? current.ticks + 1 : 0;
    current.number_at_tick = current.number;
    return current.ticks >= kTicks;
}

bool host_sets_any_base() {
    constexpr unsigned long kFsgsbase = 1 << 1;  // HWCAP2_FSGSBASE of the kernel's <asm/hwcap2.h>
    return getauxval(AT_HWCAP2) & kFsgsbase;
}

Result<void> install_handlers() {
    static std::array<uint8_t, 128 << 10> stack;
    stack_t alternate{};
    alternate.ss_sp = stack.data();
    alternate.ss_size = stack.size();
    if (sigaltstack(&alternate, nullptr)) return error("sigaltstack: {}", std::strerror(errno));
    struct sigaction action {};
    action.sa_sigaction = oracle_signal_entry;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER | SA_RESTART;
    for (int number : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGVTALRM})
        if (sigaction(number, &action, nullptr)) return error("sigaction: {}", std::strerror(errno));
    itimerval tick{{0, 100'000}, {0, 100'000}};
    if (setitimer(ITIMER_VIRTUAL, &tick, nullptr)) return error("setitimer: {}", std::strerror(errno));
    return {};
}

}  // namespace

Result<Image*> prepare_native_sandbox() {
    int file = memfd_create("sandbox", 0);
    if (file < 0 || ftruncate(file, sizeof(Image))) return error("memfd_create: {}", std::strerror(errno));
    for (size_t i = 0; i < kSandbox.size(); ++i) {
        const SandboxPage& page = kSandbox[i];
        int protection = PROT_READ | (page.writable ? PROT_WRITE : 0) | (page.executable ? PROT_EXEC : 0);
        void* at =
            mmap(reinterpret_cast<void*>(page.address), kPageSize, protection,
                 MAP_SHARED | MAP_FIXED_NOREPLACE | MAP_POPULATE, file, static_cast<off_t>(i * kPageSize));
        if (at == MAP_FAILED)
            return error("the sandbox's page {:#x} can't be mapped: {}", page.address, std::strerror(errno));
    }
    void* image = mmap(nullptr, sizeof(Image), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, file, 0);
    if (image == MAP_FAILED) return error("mmap: {}", std::strerror(errno));
    close(file);
    oracle_has_fsgsbase = host_sets_any_base();
    oracle_has_avx = host_has_avx();
    TRY(install_handlers());
    return static_cast<Image*>(image);
}

x86::CpuModel host_model() {
    static const x86::CpuModel model = host::best_cpu_model();
    return model;
}

uint64_t settable_base(uint64_t wanted) { return host_sets_any_base() ? wanted : wanted << 18 >> 18; }

void run_native(const UserState& state, bool single_step, Outcome& outcome) {
    UserState entry = state;
    if (single_step) entry.rflags |= cpu::kFlagTf;
    outcome.retired = 0;
    outcome.ending = Ending::kException;
    current.single_step = single_step;
    current.previous_rip = 0;
    current.outcome = &outcome;
    ++current.number;
    current.active = true;
    oracle_enter(&entry);
    current.active = false;
}

}  // namespace lockstep::instructions

int oracle_signal(int number, siginfo_t*, void* raw_context, uint64_t fs_base, uint64_t gs_base) {
    using namespace lockstep::instructions;
    const auto& context = *static_cast<const ucontext_t*>(raw_context);
    if (number == SIGVTALRM) {
        if (!has_timed_out()) return 0;
        current.outcome->ending = Ending::kTimeout;
        return 1;
    }
    if (!current.active) {
        signal(number, SIG_DFL);
        return 0;
    }
    auto rip = static_cast<uint64_t>(context.uc_mcontext.gregs[REG_RIP]);
    if (current.single_step && context.uc_mcontext.gregs[REG_TRAPNO] == kVectorDebug && !behind_int1(rip)) {
        count_step(rip);
        return 0;
    }
    capture(context, fs_base, gs_base, *current.outcome);
    return 1;
}
