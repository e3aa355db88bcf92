// SPDX-License-Identifier: Apache-2.0
#include "oracle.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "base/check.h"
#include "cpu/cpu_state.h"
#include "oracle_native.h"
#include "x86/paging.h"

namespace lockstep::instructions {

struct Oracle::Shared {
    struct Slot {
        UserState state;
        bool count_instructions;
        size_t patch_size;
        std::array<uint8_t, kPatchBytes> patches;  ///< address, size, bytes; again and again
    };
    size_t count;
    std::array<Slot, kBatch> slots;
    std::array<Outcome, kBatch> outcomes;
};

namespace {

/// Whether there is a TZCNT or LZCNT in a case: F3 0F BC or BD, perhaps with a prefix between.
bool counts_zeros(const Case& test_case) {
    for (const Patch& patch : test_case.patches)
        for (size_t i = 1; i + 1 < patch.bytes.size(); ++i) {
            const uint8_t* at = &patch.bytes[i];
            bool prefixed = at[-1] == 0xf3 || (i > 1 && at[-2] == 0xf3);
            if (prefixed && at[0] == 0x0f && (at[1] == 0xbc || at[1] == 0xbd)) return true;
        }
    return false;
}

template <typename Slot>
void write_slot(const Case& test_case, Slot& slot) {
    slot.state = test_case.state;
    slot.count_instructions = test_case.count_instructions;
    slot.patch_size = 0;
    for (const Patch& patch : test_case.patches) {
        uint64_t size = patch.bytes.size();
        CHECK(slot.patch_size + 16 + size <= slot.patches.size(), "case {}: too many patches",
              test_case.name);
        uint8_t* at = &slot.patches[slot.patch_size];
        std::memcpy(at, &patch.address, 8);
        std::memcpy(at + 8, &size, 8);
        std::copy(patch.bytes.begin(), patch.bytes.end(), at + 16);
        slot.patch_size += 16 + size;
    }
}

/// From here on the process may only read, write, return from signals and set segment bases: a case can do no
/// harm.
void lock_in() {
    constexpr uint32_t kAllowed[] = {SYS_read, SYS_write, SYS_exit, SYS_rt_sigreturn, SYS_arch_prctl};
    std::vector<sock_filter> program{BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr))};
    for (uint32_t call : kAllowed) {
        program.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1));
        program.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
    }
    program.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS));
    sock_fprog filter{.len = static_cast<uint16_t>(program.size()), .filter = program.data()};
    bool locked = prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
                  prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
    CHECK(locked, "the oracle's process can't be locked in: {}", std::strerror(errno));
}

template <typename Slot>
void apply_slot(const Slot& slot, Image& image) {
    image = base_image();
    for (size_t at = 0; at < slot.patch_size;) {
        uint64_t address, size;
        std::memcpy(&address, &slot.patches[at], 8);
        std::memcpy(&size, &slot.patches[at + 8], 8);
        for (uint64_t i = 0; i < size; ++i)
            if (std::optional<size_t> offset = image_offset(address + i))
                image[*offset] = slot.patches[at + 16 + i];
        at += 16 + size;
    }
}

}  // namespace

void Oracle::serve(Shared& shared, int socket) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    Result<Image*> image = prepare_native_sandbox();
    uint8_t status = image.ok() ? 1 : 0;
    if (!image.ok()) std::fprintf(stderr, "oracle: %s\n", image.error().message().c_str());
    if (write(socket, &status, 1) != 1 || !status) _exit(1);
    lock_in();
    while (read(socket, &status, 1) == 1) {
        for (size_t i = 0; i < shared.count; ++i) {
            apply_slot(shared.slots[i], *image.value());
            run_native(shared.slots[i].state, shared.slots[i].count_instructions, shared.outcomes[i]);
            shared.outcomes[i].memory = *image.value();
        }
        if (write(socket, &status, 1) != 1) break;
    }
    _exit(0);
}

Result<std::unique_ptr<Oracle>> Oracle::create() {
    void* memory = mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return error("mmap: {}", std::strerror(errno));
    auto* shared = new (memory) Shared;
    base_image();
    int sockets[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets))
        return error("socketpair: {}", std::strerror(errno));
    pid_t child = fork();
    if (child < 0) return error("fork: {}", std::strerror(errno));
    if (child == 0) {
        close(sockets[0]);
        serve(*shared, sockets[1]);
    }
    close(sockets[1]);
    std::unique_ptr<Oracle> oracle(new Oracle(shared, sockets[0], child));
    uint8_t ready = 0;
    if (read(sockets[0], &ready, 1) != 1 || !ready) return error("the oracle's process didn't start");
    TRY(oracle->probe_stacks());
    return oracle;
}

Result<void> Oracle::probe_stacks() {
    Case breakpoint;
    breakpoint.patches = {{kCode, {0xcc}}};
    breakpoint.state.rip = kCode;
    breakpoint.state.gpr[cpu::kRsp] = uint64_t{1} << 62;
    any_stack_ = TRY(run({&breakpoint, 1}))[0].vector == cpu::kBp;
    if (!any_stack_) std::puts("oracle: this host can't judge all cases whose RSP isn't canonical");
    return {};
}

Oracle::~Oracle() {
    close(socket_);
    waitpid(child_, nullptr, 0);
    munmap(shared_, sizeof(Shared));
}

Result<std::span<const Outcome>> Oracle::run(std::span<const Case> cases) {
    CHECK(cases.size() <= kBatch);
    shared_->count = cases.size();
    for (size_t i = 0; i < cases.size(); ++i) write_slot(cases[i], shared_->slots[i]);
    uint8_t token = 1;
    if (write(socket_, &token, 1) != 1 || read(socket_, &token, 1) != 1)
        return error("the oracle's process died in one of the cases {} ... {}", cases.front().name,
                     cases.back().name);
    for (size_t i = 0; i < cases.size() && !any_stack_; ++i) {
        Outcome& outcome = shared_->outcomes[i];
        bool emulated = !x86::is_canonical(cases[i].state.gpr[cpu::kRsp]) && counts_zeros(cases[i]);
        bool judged = x86::is_canonical(outcome.state.gpr[cpu::kRsp]) && !emulated;
        if (outcome.ending == Ending::kException && !judged) outcome.ending = Ending::kUnknown;
    }
    return std::span<const Outcome>(shared_->outcomes.data(), cases.size());
}

}  // namespace lockstep::instructions
