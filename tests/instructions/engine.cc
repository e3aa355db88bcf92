// SPDX-License-Identifier: Apache-2.0
#include "engine.h"

#include <cstring>
#include <numeric>

#include "base/check.h"
#include "oracle_native.h"
#include "random.h"

namespace lockstep::instructions {

namespace {

using namespace guests;

constexpr uint64_t kRamBytes = 4 << 20;
constexpr uint64_t kStubs = 0x8000;  ///< guest-physical; vector v's HLT is at kStubs + 4 * v
constexpr uint64_t kKernelStackTop = 0x10000;
constexpr uint64_t kFrames = 0x200000;                 ///< the sandbox's pages lie somewhere from here on
constexpr uint64_t kInstructionLimit = 8'000'000'000;  // what the bare CPU may do until its limit, and more
constexpr uint8_t kHlt = 0xf4;

}  // namespace

Engine::Engine(const EngineConfiguration& configuration) : configuration_(configuration) {
    Result<std::unique_ptr<memory::GuestMemory>> memory = memory::GuestMemory::create(kRamBytes);
    CHECK(memory.ok(), "{}", memory.error().message());
    memory_ = memory.take();
    long_mode_ = std::make_unique<LongMode>(*memory_);
    Random random(7);
    std::array<uint64_t, 64> order;
    std::iota(order.begin(), order.end(), 0);
    for (size_t i = order.size() - 1; i > 0; --i) std::swap(order[i], order[random.below(i + 1)]);
    for (size_t i = 0; i < kSandbox.size(); ++i) {
        frames_[i] = kFrames + order[i] * kPageSize;
        uint64_t flags = kPresent | guests::kUser | (kSandbox[i].writable ? kWritable : 0) |
                         (kSandbox[i].executable ? 0 : kNoExecute);
        long_mode_->map(kSandbox[i].address, frames_[i], flags);
    }
    for (unsigned vector = 0; vector < 256; ++vector) {
        memory_->write_number(GuestPhys(kStubs + 4 * vector), kHlt);
        long_mode_->set_gate(static_cast<uint8_t>(vector), kPhysicalMap + kStubs + 4 * vector,
                             vector == cpu::kBp ? 3 : 0);
    }
    long_mode_->set_kernel_stack(kPhysicalMap + kKernelStackTop);
    cpu_ = std::make_unique<cpu::Cpu>(*memory_, platform_, host_model());
    vcpu_ = std::make_unique<translate::Vcpu>(*cpu_, configuration.options);
}

void Engine::load(const Case& test_case, const Image& image) {
    for (size_t i = 0; i < kSandbox.size(); ++i) {
        const uint8_t* wanted = &image[i * kPageSize];
        if (std::memcmp(memory_->host(GuestPhys(frames_[i])), wanted, kPageSize) != 0)
            memory_->write(GuestPhys(frames_[i]), {wanted, kPageSize});
    }
    cpu::CpuState& state = cpu_->state;
    Icount now = state.icount;
    long_mode_->enter_user(state, test_case.state.rip, 0);
    state.icount = now;
    state.gpr = test_case.state.gpr;
    state.rflags = test_case.state.rflags;
    state.segments[cpu::kFs].base = test_case.state.fs_base;
    state.segments[cpu::kGs].base = test_case.state.gs_base;
    state.fx = test_case.state.fx;
    state.upper_halves = test_case.state.upper_halves;
    state.cr4 |= x86::kCr4Osxsave;
    state.xcr0 = x86::xcr0_of(cpu_->model);
    vcpu_->state_replaced();
}

UserState Engine::user_state() const {
    const cpu::CpuState& state = cpu_->state;
    UserState user;
    user.gpr = state.gpr;
    user.rip = state.rip;
    user.rflags = state.rflags;
    user.fs_base = state.segments[cpu::kFs].base;
    user.gs_base = state.segments[cpu::kGs].base;
    user.fx = state.fx;
    user.upper_halves = state.upper_halves;
    return user;
}

void Engine::run(const Case& test_case, const Image& image, Outcome& outcome,
                 std::optional<uint64_t> stop_after) {
    load(test_case, image);
    at_stop_.reset();
    uint64_t start = cpu_->state.icount.value();
    if (stop_after) {
        translate::VcpuExit exit = vcpu_->run(Icount(start + *stop_after));
        if (exit == translate::VcpuExit::kReached && cpu_->state.cpl() == 3) {
            CHECK(cpu_->state.icount.value() == start + *stop_after, "case {}: stopped at {} instead of {}",
                  test_case.name, cpu_->state.icount.value() - start, *stop_after);
            at_stop_ = user_state();
        }
    }
    outcome.ending = Ending::kException;
    if (!cpu_->state.halted &&
        vcpu_->run(Icount(start + kInstructionLimit)) != translate::VcpuExit::kHalted) {
        outcome.ending = Ending::kTimeout;
        outcome.state = user_state();
        return;
    }
    read_outcome(start, outcome);
}

void Engine::read_outcome(uint64_t start, Outcome& outcome) {
    const cpu::CpuState& state = cpu_->state;
    outcome.vector = static_cast<uint8_t>((state.rip - (kPhysicalMap + kStubs)) / 4);
    uint64_t rsp = state.gpr[cpu::kRsp];
    bool has_error_code = kPhysicalMap + kKernelStackTop - rsp == 48;
    uint64_t frame = rsp - kPhysicalMap;
    auto slot = [&](unsigned i) { return memory_->read_number<uint64_t>(GuestPhys(frame + 8 * i)); };
    unsigned first = has_error_code ? 1 : 0;
    outcome.error_code = has_error_code ? static_cast<uint32_t>(slot(0)) : 0;
    outcome.cr2 = outcome.vector == cpu::kPf ? state.cr2 : 0;
    outcome.state = user_state();
    outcome.state.rip = slot(first);
    outcome.state.rflags = slot(first + 2);
    outcome.state.gpr[cpu::kRsp] = slot(first + 3);
    outcome.retired = state.icount.value() - start - 2;  // without the exception (or INT3), and the HLT
    for (size_t i = 0; i < kSandbox.size(); ++i)
        std::memcpy(&outcome.memory[i * kPageSize], memory_->host(GuestPhys(frames_[i])), kPageSize);
}

}  // namespace lockstep::instructions
