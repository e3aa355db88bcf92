// SPDX-License-Identifier: Apache-2.0
#include "fuzz_machine.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "cpu/save.h"
#include "cpu/virtual_memory.h"
#include "disassemble.h"
#include "generate.h"
#include "generate_parts.h"
#include "kit/long_mode.h"
#include "oracle_native.h"
#include "x86/control.h"

namespace lockstep::instructions {

namespace {

using namespace cpu;
using namespace guests;

constexpr uint64_t kRamBytes = 2 << 20;
constexpr uint64_t kFrames = kTableAreaEnd;
constexpr uint64_t kDevices = 0x40000000;
constexpr uint64_t kUserPages = 0x20000000, kKernelPages = 0xffff900000000000;
constexpr uint64_t kPages = 64;
constexpr uint64_t kStubs = 0x8000, kStackTop = 0x10000, kSafeStackTop = 0x14000;
constexpr uint64_t kStubBytes = 16;
constexpr uint8_t kHlt = 0xf4, kInt3 = 0xcc;
constexpr Icount kStart{1'000'000};
constexpr uint64_t kMostInstructions = 400;

/// What is used of the RAM: tables and stacks, the pages. The rest of it nothing leads to.
struct Range {
    uint64_t start, end;
};
constexpr std::array<Range, 2> kUsed{{{0, 0x60000}, {kFrames, kFrames + kPages* kPageSize}}};

enum class PageKind : uint8_t { kData, kReadOnly, kAbsent, kDevice, kCode, kSupervisor };
constexpr unsigned kPageKinds = 6;

/// Each kind stands beside each other one.
PageKind kind_of(uint64_t page) {
    uint64_t round = page / kPageKinds;
    return static_cast<PageKind>((page * (1 + round % 5) + round / 5) % kPageKinds);
}

bool has_ram(PageKind kind) { return kind != PageKind::kAbsent && kind != PageKind::kDevice; }

uint64_t frame_of(uint64_t page) {
    if (kind_of(page) == PageKind::kDevice) return kDevices + page * kPageSize;
    return kFrames + page * 37 % kPages * kPageSize;  // not in order
}

uint64_t flags_of(PageKind kind) {
    uint64_t flags = kPresent | guests::kUser | kNoExecute;
    switch (kind) {
        case PageKind::kAbsent:
            return 0;
        case PageKind::kReadOnly:
            return flags;
        case PageKind::kCode:
            return kPresent | guests::kUser | kWritable;
        case PageKind::kSupervisor:
            return kPresent | kWritable;
        default:
            return flags | kWritable;
    }
}

uint64_t random_place(Random& random) {
    uint64_t page = random.below(kPages);
    uint64_t offset = random.chance(50) ? kPageSize - random.below(20) : random.below(kPageSize);
    uint64_t base = random.chance(60) ? kUserPages : kKernelPages;
    return base + page * kPageSize + offset;
}

/// Memory and the states that runs begin with.
struct World {
    Bytes memory;
    CpuState user, kernel;
};

void fill_frame(memory::GuestMemory& memory, uint64_t page, Random& random) {
    for (uint64_t at = 0; at < kPageSize; at += 8) {
        uint64_t value = random.chance(40) ? random_place(random) : interesting_number(random);
        memory.write_number(GuestPhys(frame_of(page) + at), value);
    }
    if (kind_of(page) == PageKind::kCode)
        for (uint64_t at = 0; at < kPageSize; ++at)
            memory.write_number(GuestPhys(frame_of(page) + at), kInt3);
}

/// Goes on behind the first byte of what has faulted; a double fault is the end.
Bytes handler(unsigned vector) {
    constexpr std::string_view kDropErrorCode = "\x48\x83\xc4\x08", kSkipByte = "\x48\xff\x04\x24",
                               kIretq = "\x48\xcf";
    bool error_code = (vector >= kTs && vector <= kPf) || vector == kAc;
    bool trap = vector == kDb || vector == kBp || vector == kOf || vector >= 0x20;
    if (vector == kDf) return {kHlt};
    Bytes code;
    for (std::string_view part : {error_code ? kDropErrorCode : "", trap ? "" : kSkipByte, kIretq})
        code.insert(code.end(), part.begin(), part.end());
    return code;
}

World make_world() {
    auto memory = memory::GuestMemory::create(kRamBytes).take();
    LongMode long_mode(*memory);
    Random random(3);
    for (uint64_t page = 0; page < kPages; ++page) {
        uint64_t flags = flags_of(kind_of(page)), kernel = flags & ~guests::kUser;
        if (page % 2) kernel |= kGlobal;
        if (!(flags & kPresent)) kernel = 0;
        long_mode.map(kUserPages + page * kPageSize, frame_of(page), flags);
        long_mode.map(kKernelPages + page * kPageSize, frame_of(page), kernel);
        if (has_ram(kind_of(page))) fill_frame(*memory, page, random);
    }
    long_mode.set_kernel_stack(kPhysicalMap + kStackTop);
    long_mode.set_interrupt_stack(1, kPhysicalMap + kSafeStackTop);
    for (unsigned vector = 0; vector < 256; ++vector) {
        CHECK(memory->write(GuestPhys(kStubs + kStubBytes * vector), handler(vector)));
        bool software = vector == kBp || vector == kOf || vector >= 0x80;
        long_mode.set_gate(static_cast<uint8_t>(vector), kPhysicalMap + kStubs + kStubBytes * vector,
                           software ? 3 : 0, vector == kDf || vector % 4 == 1);
    }
    World world{.memory = Bytes(memory->base(), memory->base() + kRamBytes), .user = {}, .kernel = {}};
    long_mode.enter_user(world.user, 0, 0);
    long_mode.enter_kernel(world.kernel, 0, 0);
    return world;
}

const World& world() {
    static const World made = make_world();
    return made;
}

void randomise_control(Random& random, CpuState& state) {
    auto flip = [&](uint64_t& target, uint64_t bit, unsigned percent) {
        if (random.chance(percent)) target ^= bit;
    };
    flip(state.cr0, x86::kCr0Ts, 5);
    flip(state.cr0, x86::kCr0Em, 3);
    flip(state.cr0, x86::kCr0Wp, 10);
    state.cr4 |= x86::kCr4Osxsave | x86::kCr4Fsgsbase;
    flip(state.cr4, x86::kCr4Tsd, 10);
    state.xcr0 = x86::xcr0_of(host_model());
    flip(state.xcr0, state.xcr0 & x86::kXcr0Avx, 10);
    state.star = uint64_t{0x23} << 48 | uint64_t{kKernelCode} << 32;
    state.lstar = state.sysenter_eip = kPhysicalMap + kStubs;
    state.sysenter_cs = kKernelCode;
    state.sysenter_esp = kPhysicalMap + kStackTop;
    state.sfmask = random.chance(50) ? kFlagIf | kFlagTf : 0;
    state.rflags = 2 | (random.next() & (kArithmeticFlags | kFlagIf));
    flip(state.rflags, kFlagDf, 10);
    flip(state.rflags, kFlagTf, 5);
    flip(state.rflags, kFlagNt, 3);
    flip(state.rflags, kFlagAc, 10);
    if (random.chance(10)) state.rflags |= kFlagIopl;
}

void randomise_registers(Random& random, CpuState& state) {
    for (uint64_t& value : state.gpr)
        value = random.chance(65) ? random_place(random) : interesting_number(random);
    if (random.chance(70)) state.gpr[kRcx] = random.below(600);
    state.fx = random_fx(random, true);
    if (host_has_avx()) state.upper_halves = random_upper_halves(random, true);
    for (auto segment : {kFs, kGs})
        state.segments[segment].base = random.chance(50) ? random_place(random) : random.below(0x1000);
    state.kernel_gs_base = random_place(random);
}

}  // namespace

/// Answers every access by what has been asked so far, so that an access too many shows in all that follows.
class FuzzPlatform final : public Platform {
  public:
    void begin(const FuzzCase& fuzz_case) {
        asked_ = 1;
        task_priority_ = 0;
        due_ = fuzz_case.interrupts;
        pending_.clear();
    }
    void advance(Icount now) {
        while (!due_.empty() && due_.front().first <= now) {
            pending_.push_back(due_.front().second);
            due_.erase(due_.begin());
        }
    }
    uint64_t asked() const { return asked_; }

    uint64_t read_mmio(GuestPhys at, unsigned size) override {
        return note(1, at.value(), size) & mask_of_size(size);
    }
    void write_mmio(GuestPhys at, unsigned size, uint64_t value) override {
        note(2 + size, at.value(), value);
    }
    uint32_t read_port(uint16_t port, unsigned size) override {
        return static_cast<uint32_t>(note(11, port, size) & mask_of_size(size));
    }
    void write_port(uint16_t port, unsigned size, uint32_t value) override { note(12 + size, port, value); }
    bool interrupt_pending() const override { return !pending_.empty(); }
    uint8_t acknowledge_interrupt() override {
        uint8_t vector = pending_.front();
        pending_.erase(pending_.begin());
        return vector;
    }
    std::optional<uint64_t> read_msr(uint32_t number) override {
        return number >> 8 == 8 ? std::optional(note(20, number, 0)) : std::nullopt;
    }
    bool write_msr(uint32_t number, uint64_t value) override {
        if (number >> 8 != 8) return false;
        note(21, number, value);
        return true;
    }
    uint64_t task_priority() const override { return task_priority_; }
    void set_task_priority(uint64_t value) override { task_priority_ = value; }
    TimeLine tsc_line() const override {
        return {.base = 1000, .start = Icount(0), .rate = uint64_t{3} << 31};
    }
    Icount next_event() const override { return due_.empty() ? kNeverIcount : due_.front().first; }
    bool leave_requested() const override { return false; }

  private:
    uint64_t note(uint64_t what, uint64_t first, uint64_t second) {
        for (uint64_t value : {what, first, second}) asked_ = Random(asked_ ^ value).next();
        return asked_;
    }

    uint64_t asked_ = 1;
    uint64_t task_priority_ = 0;
    std::vector<std::pair<Icount, uint8_t>> due_;
    std::vector<uint8_t> pending_;
};

FuzzCase generate_fuzz_case(uint64_t seed) {
    Random random(seed * 0x9e3779b97f4a7c15 + 23);
    bool as_user = random.chance(50);
    FuzzCase out{.name = fmt::format("machine:{}", seed),
                 .state = as_user ? world().user : world().kernel,
                 .code_at = {},
                 .code = {},
                 .interrupts = {}};
    randomise_control(random, out.state);
    randomise_registers(random, out.state);
    for (uint64_t left = 1 + random.below(6); left > 0; --left) {
        Bytes more = random_code(random);
        out.code.insert(out.code.end(), more.begin(), more.end());
    }
    uint64_t page = random.below(kPages);
    while (kind_of(page) != PageKind::kCode) page = (page + 1) % kPages;
    uint64_t most = std::min<uint64_t>(out.code.size(), 200);
    uint64_t offset = random.chance(50) ? kPageSize - random.below(most + 1) : random.below(kPageSize - most);
    offset = std::min(offset, kPageSize - 1);
    out.code.resize(std::min<uint64_t>(out.code.size(), kPageSize - offset));
    out.code_at = GuestPhys(frame_of(page) + offset);
    out.state.rip = (as_user ? kUserPages : kKernelPages) + page * kPageSize + offset;
    out.state.icount = kStart;
    for (uint64_t left = random.chance(20) ? 1 + random.below(3) : 0, at = kStart.value(); left > 0; --left) {
        at += 1 + random.below(20);
        out.interrupts.emplace_back(at, static_cast<uint8_t>(0x20 + random.below(0xe0)));
    }
    return out;
}

std::string describe(const FuzzCase& fuzz_case) {
    const CpuState& state = fuzz_case.state;
    std::string out =
        fmt::format("case {}   repeat with: instruction_fuzzer --case={}\n", fuzz_case.name, fuzz_case.name);
    for (size_t at = 0; at < fuzz_case.code.size();) {
        ByteSpan rest = ByteSpan(fuzz_case.code).subspan(at);
        auto instruction = disassemble(rest.first(std::min<size_t>(rest.size(), 15)), state.rip + at);
        size_t length = instruction ? instruction->length : 1;
        out += fmt::format("    {:x}  {:02x}  {}\n", state.rip + at, fmt::join(rest.first(length), " "),
                           instruction ? instruction->text : "(no instruction)");
        at += length;
    }
    for (size_t i = 0; i < state.gpr.size(); ++i)
        out += fmt::format("    {:2} {:016x}{}", i, state.gpr[i], i % 4 == 3 ? "\n" : "");
    return out + fmt::format("    rflags {:#x} cr0 {:#x} cr4 {:#x} cpl {}\n", state.rflags, state.cr0,
                             state.cr4, state.cpl());
}

FuzzMachine::FuzzMachine(const EngineConfiguration& configuration) : configuration_(configuration) {
    memory_ = memory::GuestMemory::create(kRamBytes).take();
    platform_ = std::make_unique<FuzzPlatform>();
    cpu_ = std::make_unique<Cpu>(*memory_, *platform_, host_model());
    vcpu_ = std::make_unique<translate::Vcpu>(*cpu_, configuration.options);
}

FuzzMachine::~FuzzMachine() = default;

void FuzzMachine::load(const FuzzCase& fuzz_case) {
    const Bytes& wanted = world().memory;
    for (const Range& range : kUsed)
        for (uint64_t at = range.start; at < range.end; at += kPageSize)
            if (std::memcmp(memory_->host(GuestPhys(at)), &wanted[at], kPageSize) != 0)
                memory_->write(GuestPhys(at), {&wanted[at], kPageSize});
    CHECK(memory_->write(fuzz_case.code_at, fuzz_case.code));
    platform_->begin(fuzz_case);
    cpu_->state = fuzz_case.state;
    cpu_->mmu.clear();
    vcpu_->state_replaced();
}

void FuzzMachine::run(const FuzzCase& fuzz_case, Stops stops) {
    load(fuzz_case);
    Random random(fuzz_case.state.rip ^ fuzz_case.code.size());
    Icount end = kStart + kMostInstructions, now = kStart;
    do {
        Icount until = stops == Stops::kRandom ? std::min(end, now + 1 + random.below(12)) : end;
        exit_ = vcpu_->run(until);
        now = cpu_->state.icount;
        platform_->advance(now);
        // A single step and its trap come together.
        CHECK(now <= end + 1, "{} instructions too many", now - end);
    } while (exit_ == translate::VcpuExit::kReached && now < end);
    executed_ = now - kStart;
}

std::string FuzzMachine::compare(const FuzzMachine& other) const {
    const CpuState &mine = cpu_->state, &theirs = other.cpu_->state;
    std::string out;
    auto field = [&](const std::string& name, uint64_t left, uint64_t right) {
        if (left != right) out += fmt::format("  {:<12} {:#x} against {:#x}\n", name, left, right);
    };
    field("exit", static_cast<uint64_t>(exit_), static_cast<uint64_t>(other.exit_));
    field("executed", executed_, other.executed_);
    for (size_t i = 0; i < mine.gpr.size(); ++i) field(fmt::format("gpr {}", i), mine.gpr[i], theirs.gpr[i]);
    field("rip", mine.rip, theirs.rip);
    field("rflags", mine.rflags, theirs.rflags);
    field("cr2", mine.cr2, theirs.cr2);
    field("devices", platform_->asked(), other.platform_->asked());
    field("state hash", hash(mine), hash(theirs));
    for (const Range& range : kUsed) {
        const uint8_t *left = memory_->base(), *right = other.memory_->base();
        if (std::memcmp(left + range.start, right + range.start, range.end - range.start) == 0) continue;
        uint64_t at = range.start;
        while (left[at] == right[at]) ++at;
        field(fmt::format("[{:#x}]", at & ~7), memory_->read_number<uint64_t>(GuestPhys(at & ~7)),
              other.memory_->read_number<uint64_t>(GuestPhys(at & ~7)));
    }
    return out;
}

}  // namespace lockstep::instructions
