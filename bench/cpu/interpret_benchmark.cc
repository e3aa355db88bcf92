// SPDX-License-Identifier: Apache-2.0
// What one call of cpu::interpret() costs, by instruction: fetch, decode cache and execution.
//
//     ninja -C build/release interpret_benchmark
//     build/release/bench/cpu/interpret_benchmark [--benchmark_filter=movs]
//
// Each iteration sets rip, and the few registers that the instruction changes, and executes it once.
#include <benchmark/benchmark.h>

#include "base/check.h"
#include "cpu/cpu.h"
#include "cpu/float_state.h"
#include "kit/long_mode.h"
#include "kit/test_platform.h"
#include "x86/control.h"
#include "x86/msr.h"

namespace lockstep::cpu {
namespace {

using guests::kPhysicalMap;

constexpr uint64_t kCode = kPhysicalMap + 0x200000, kStack = kPhysicalMap + 0x280000,
                   kSource = kPhysicalMap + 0x300000, kTarget = kPhysicalMap + 0x340000;
constexpr uint64_t kUserCode = 0x400000, kUserStack = 0x600000;

constexpr uint64_t kMemory = 16 << 20;

/// A vCPU in kernel mode with all of its memory mapped in 4 KiB pages' worth of large ones, and user pages.
class Bench {
  public:
    Bench()
        : memory_(memory::GuestMemory::create(kMemory).take()), mode_(*memory_), cpu(*memory_, platform_) {
        mode_.map(kUserCode, 0x400000, guests::kPresent | guests::kWritable | guests::kUser);
        mode_.map(kUserStack - kPageSize, 0x401000, guests::kPresent | guests::kWritable | guests::kUser);
        for (unsigned vector = 0; vector < 256; ++vector)
            mode_.set_gate(static_cast<uint8_t>(vector), kCode, 3);
        mode_.set_kernel_stack(kStack);
        enter_kernel();
    }

    void enter_kernel() {
        mode_.enter_kernel(cpu.state, kCode, kStack);
        finish_state();
    }
    void enter_user() {
        mode_.enter_user(cpu.state, kUserCode, kUserStack - 64);
        finish_state();
    }

    void put(uint64_t linear, const void* bytes, size_t size) {
        auto physical = cpu.mmu.peek(GuestVirt(linear));
        CHECK(physical && memory_->write(*physical, {static_cast<const uint8_t*>(bytes), size}));
    }
    void put_code(const Bytes& code) { put(cpu.state.rip, code.data(), code.size()); }
    void put64(uint64_t linear, uint64_t value) { put(linear, &value, sizeof value); }

    void make_kernel_global() {
        for (uint64_t at = 0; at < kMemory; at += 2 << 20)
            mode_.map_large(kPhysicalMap + at, at, guests::kPresent | guests::kWritable | guests::kGlobal);
        cpu.mmu.clear();
    }

    void step() {
        Exception exception;
        StepResult result = interpret(cpu, exception);
        if (result != StepResult::kDone) [[unlikely]]
            CHECK(false, "result {}, vector {}", static_cast<int>(result), exception.vector);
    }

  private:
    void finish_state() {
        cpu.state.efer |= x86::kEferSce;
        cpu.state.cr4 |= x86::kCr4Osfxsr | x86::kCr4Fsgsbase;
        cpu.state.star = uint64_t{0x23} << 48 | uint64_t{0x10} << 32;
        cpu.state.lstar = kCode;
        cpu.mmu.clear();
    }

    std::unique_ptr<memory::GuestMemory> memory_;
    guests::TestPlatform platform_;
    guests::LongMode mode_;

  public:
    Cpu cpu;
};

/// Runs `code` at the present rip; `again` brings the state back before each execution.
template <typename Again>
void repeat(benchmark::State& run, Bench& bench, const Bytes& code, Again again) {
    bench.put_code(code);
    CpuState& state = bench.cpu.state;
    uint64_t rip = state.rip;
    for (auto _ : run) {
        state.rip = rip;
        again(state);
        bench.step();
    }
}

// Instructions that may be repeated as they are.
struct Plain {
    const char* name;
    Bytes code;
    void (*prepare)(Bench&);
};
void nothing(Bench&) {}
void point_to_data(Bench& bench) {
    bench.cpu.state.gpr[kRbx] = kSource;
    FxState image = bench.cpu.state.fx;
    bench.put(kSource, image.bytes.data(), image.bytes.size());
}

const Plain kPlain[] = {
    {"cld", {0xfc}, nothing},
    {"cli", {0xfa}, nothing},
    {"sti", {0xfb}, nothing},
    {"swapgs", {0x0f, 0x01, 0xf8}, nothing},
    {"clts", {0x0f, 0x06}, nothing},
    {"rdtsc", {0x0f, 0x31}, nothing},
    {"cpuid", {0x0f, 0xa2}, nothing},
    {"invlpg", {0x0f, 0x01, 0x3b}, [](Bench& bench) { bench.cpu.state.gpr[kRbx] = kUserCode; }},
    {"mov_rax_cr2", {0x0f, 0x20, 0xd0}, nothing},
    {"mov_cr3", {0x0f, 0x22, 0xd8}, [](Bench& bench) { bench.cpu.state.gpr[kRax] = bench.cpu.state.cr3; }},
    {"rdmsr_gs_base", {0x0f, 0x32}, [](Bench& bench) { bench.cpu.state.gpr[kRcx] = x86::kMsrGsBase; }},
    {"wrmsr_fs_base",
     {0x0f, 0x30},
     [](Bench& bench) {
         bench.cpu.state.gpr[kRcx] = x86::kMsrFsBase;
         bench.cpu.state.gpr[kRax] = 0x1000;
         bench.cpu.state.gpr[kRdx] = 0;
     }},
    {"rdgsbase", {0xf3, 0x48, 0x0f, 0xae, 0xc8}, nothing},
    {"in_al_dx", {0xec}, nothing},
    {"mov_ds", {0x8e, 0xdb}, [](Bench& bench) { bench.cpu.state.gpr[kRbx] = guests::kUserData; }},
    {"fxsave", {0x48, 0x0f, 0xae, 0x03}, point_to_data},
    {"fxrstor", {0x48, 0x0f, 0xae, 0x0b}, point_to_data},
};

void plain(benchmark::State& run, const Plain& row) {
    Bench bench;
    row.prepare(bench);
    repeat(run, bench, row.code, [](CpuState&) {});
}

// Instructions of the stack.
void stack(benchmark::State& run, const Bytes& code) {
    Bench bench;
    bench.put64(kStack - 8, 0x202);
    repeat(run, bench, code, [&](CpuState& state) { state.gpr[kRsp] = kStack - 8; });
}

// The ways into the kernel and back.
void syscall(benchmark::State& run) {
    Bench bench;
    bench.enter_user();
    SegmentRegister code = bench.cpu.state.segments[kCs], stack = bench.cpu.state.segments[kSs];
    repeat(run, bench, {0x0f, 0x05}, [&](CpuState& state) {
        state.segments[kCs] = code;
        state.segments[kSs] = stack;
    });
}

void sysret(benchmark::State& run) {
    Bench bench;
    SegmentRegister code = bench.cpu.state.segments[kCs], stack = bench.cpu.state.segments[kSs];
    bench.cpu.state.gpr[kRcx] = kUserCode;
    bench.cpu.state.gpr[kR11] = 0x202;
    repeat(run, bench, {0x48, 0x0f, 0x07}, [&](CpuState& state) {
        state.segments[kCs] = code;
        state.segments[kSs] = stack;
    });
}

enum class To : uint8_t { kKernel, kUser };
void iretq(benchmark::State& run, To to) {
    Bench bench;
    SegmentRegister code = bench.cpu.state.segments[kCs], stack = bench.cpu.state.segments[kSs];
    bool user = to == To::kUser;
    const uint64_t frame[5] = {user ? kUserCode : kCode, user ? guests::kUserCode : guests::kKernelCode, 2,
                               user ? kUserStack : kStack, user ? guests::kUserData : guests::kKernelData};
    bench.put(kStack - 40, frame, sizeof frame);
    repeat(run, bench, {0x48, 0xcf}, [&](CpuState& state) {
        state.segments[kCs] = code;
        state.segments[kSs] = stack;
        state.gpr[kRsp] = kStack - 40;
    });
}

void interrupt(benchmark::State& run, To from) {
    Bench bench;
    from == To::kUser ? bench.enter_user() : bench.enter_kernel();
    CpuState& state = bench.cpu.state;
    uint64_t rip = state.rip, rsp = state.gpr[kRsp];
    SegmentRegister code = state.segments[kCs], stack = state.segments[kSs];
    for (auto _ : run) {
        state.rip = rip;
        state.gpr[kRsp] = rsp;
        state.segments[kCs] = code;
        state.segments[kSs] = stack;
        CHECK(deliver_interrupt(bench.cpu, 32));
    }
}

/// A switch between run.range(0) address spaces that keep their translations, as a kernel with PCIDs does it.
/// The kernel's pages are global.
void mov_cr3_keep(benchmark::State& run) {
    Bench bench;
    CpuState& state = bench.cpu.state;
    state.cr4 |= x86::kCr4Pge | x86::kCr4Pcide;
    bench.make_kernel_global();
    uint64_t root = state.cr3, spaces = static_cast<uint64_t>(run.range(0)), pcid = 0;
    repeat(run, bench, {0x0f, 0x22, 0xd8}, [&](CpuState& before) {
        if (++pcid == spaces) pcid = 0;
        before.gpr[kRax] = root | pcid | x86::kCr3Keep;
    });
}

// String instructions of run.range(0) elements.
void strings(benchmark::State& run, const Bytes& code, unsigned offset) {
    Bench bench;
    auto count = static_cast<uint64_t>(run.range(0));
    repeat(run, bench, code, [&](CpuState& state) {
        state.gpr[kRcx] = count;
        state.gpr[kRsi] = kSource + offset;
        state.gpr[kRdi] = kTarget + offset;
    });
}

/// CLI at one of many addresses: what the decode cache costs when the processor's own caches are cold to it.
void many_addresses(benchmark::State& run) {
    Bench bench;
    auto count = static_cast<uint64_t>(run.range(0));
    Bytes code(0x2000, 0xfa);
    bench.put_code(code);
    CpuState& state = bench.cpu.state;
    uint64_t rip = state.rip, at = 0;
    for (auto _ : run) {
        at = (at + 17) % count;
        state.rip = rip + at;
        bench.step();
    }
}
/// CLD decoded beforehand: what is left when the caller keeps the Instruction.
void execute_alone(benchmark::State& run) {
    Bench bench;
    const uint8_t code[] = {0xfc};
    Instruction instruction;
    CHECK(decode(code, sizeof code, instruction));
    Exception exception;
    for (auto _ : run) benchmark::DoNotOptimize(execute(bench.cpu, instruction, exception));
}
BENCHMARK(execute_alone);

void normalise(benchmark::State& run) {
    FxState image;
    for (auto _ : run) {
        normalise_fx(image);
        benchmark::DoNotOptimize(image);
    }
}
BENCHMARK(normalise);

BENCHMARK(many_addresses)->Arg(64)->Arg(1024);

int register_all() {
    for (const Plain& row : kPlain)
        benchmark::RegisterBenchmark(row.name, [&row](benchmark::State& run) { plain(run, row); });
    benchmark::RegisterBenchmark("pushfq", [](benchmark::State& run) { stack(run, {0x9c}); });
    benchmark::RegisterBenchmark("popfq", [](benchmark::State& run) { stack(run, {0x9d}); });
    benchmark::RegisterBenchmark("mov_cr3_keep", mov_cr3_keep)->Arg(1)->Arg(2)->Arg(6);
    benchmark::RegisterBenchmark("syscall", syscall);
    benchmark::RegisterBenchmark("sysretq", sysret);
    benchmark::RegisterBenchmark("iretq_kernel", [](benchmark::State& run) { iretq(run, To::kKernel); });
    benchmark::RegisterBenchmark("iretq_user", [](benchmark::State& run) { iretq(run, To::kUser); });
    benchmark::RegisterBenchmark("interrupt_kernel",
                                 [](benchmark::State& run) { interrupt(run, To::kKernel); });
    benchmark::RegisterBenchmark("interrupt_user", [](benchmark::State& run) { interrupt(run, To::kUser); });
    struct Row {
        const char* name;
        Bytes code;
        unsigned offset;
    };
    static const Row kRows[] = {
        {"rep_movsb", {0xf3, 0xa4}, 3},           {"rep_movsq", {0xf3, 0x48, 0xa5}, 0},
        {"rep_stosb", {0xf3, 0xaa}, 3},           {"rep_stosq", {0xf3, 0x48, 0xab}, 0},
        {"repe_cmpsb", {0xf3, 0xa6}, 3},          {"rep_movsb_across", {0xf3, 0xa4}, 0xffb},
        {"repne_scasb_nonzero", {0xf3, 0xae}, 0},
    };
    for (const Row& row : kRows)
        benchmark::RegisterBenchmark(row.name,
                                     [&row](benchmark::State& run) { strings(run, row.code, row.offset); })
            ->Arg(1)
            ->Arg(8)
            ->Arg(64)
            ->Arg(512);
    benchmark::RegisterBenchmark("movsb", [](benchmark::State& run) { strings(run, {0xa4}, 0); })->Arg(1);
    benchmark::RegisterBenchmark("stosq", [](benchmark::State& run) {
        strings(run, {0x48, 0xab}, 0);
    })->Arg(1);
    benchmark::RegisterBenchmark("lodsb", [](benchmark::State& run) { strings(run, {0xac}, 0); })->Arg(1);
    return 0;
}
const int registered = register_all();

}  // namespace
}  // namespace lockstep::cpu
