// SPDX-License-Identifier: Apache-2.0
// Breakpoints of the debug registers: where each traps, in kernel mode, in user mode, and on the bare CPU, whose
// answers are the right ones wherever the host lets a program set its own.
#include <signal.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <map>
#include <optional>
#include <set>

#include "kit/guest_test.h"
#include "x86/control.h"

LOCKSTEP_GUEST(breakpoints);
LOCKSTEP_GUEST_LABEL(breakpoints_body);
LOCKSTEP_GUEST_LABEL(breakpoints_target);
LOCKSTEP_GUEST_LABEL(breakpoints_last);
LOCKSTEP_GUEST_LABEL(breakpoints_strings);
LOCKSTEP_GUEST_LABEL(breakpoints_end);
LOCKSTEP_GUEST_LABEL(breakpoints_user);
LOCKSTEP_GUEST_LABEL(breakpoints_trap);
LOCKSTEP_GUEST(debug_registers);
LOCKSTEP_GUEST_LABEL(registers_written);
LOCKSTEP_GUEST_LABEL(registers_detected);
LOCKSTEP_GUEST_LABEL(registers_port);

namespace lockstep::guests {
namespace {

constexpr uint64_t kUserCode = 0x400000, kUserData = 0x600000;
constexpr uint64_t kTrapLog = kLogArea + 0x1000;
constexpr uint64_t kRounds = 3, kBitsOfCauses = 15 | x86::kDr6Bs;

/// Where a trap was, from the code's start; DR6's bits; RCX; the arithmetic flags.
struct Trap {
    uint64_t offset, causes, rcx, flags;
    bool operator==(const Trap&) const = default;
};
std::ostream& operator<<(std::ostream& out, const Trap& trap) {
    return out << std::hex << "{+" << trap.offset << " " << trap.causes << " rcx " << trap.rcx << " flags "
               << trap.flags << "}";
}

/// Two debug registers and DR7. Addresses from the start of data or of code.
struct Setting {
    const char* name;
    std::array<uint64_t, 2> at;
    uint64_t control;
    bool code = false;
    uint64_t bits_of_code() const { return code ? 3 : 0; }
};

constexpr uint64_t kFirst = 1, kSecond = 4;  // L0, L1
constexpr uint64_t field(unsigned number, uint64_t kind, uint64_t size) {
    return (kind | (size == 8 ? 2 : size - 1) << 2) << (16 + 4 * number);
}

uint64_t offset_of(const uint8_t* label) { return static_cast<uint64_t>(label - guest_breakpoints); }

std::vector<Setting> settings() {
    return {
        {"a word written", {16, 0}, kFirst | field(0, 1, 4)},
        {"a word touched", {16, 0}, kFirst | field(0, 3, 4)},
        {"eight bytes touched", {16, 0}, kFirst | field(0, 3, 8)},
        {"two neighbours", {18, 20}, kFirst | kSecond | field(0, 3, 2) | field(1, 1, 1)},
        {"the other page's first byte", {4096, 0}, kFirst | field(0, 3, 1)},
        {"the other page and this one", {4096, 12}, kFirst | kSecond | field(0, 1, 4) | field(1, 3, 4)},
        {"nothing enabled", {16, 16}, field(0, 3, 4) | field(1, 1, 4)},
        {"code", {offset_of(breakpoints_body), offset_of(breakpoints_target)}, kFirst | kSecond, true},
        {"code in a row",
         {offset_of(breakpoints_last), offset_of(breakpoints_last) + 1},
         kFirst | kSecond,
         true},
        {"a string instruction", {offset_of(breakpoints_strings) - 3, 0}, kFirst, true},
    };
}

/// The guest as a program of the host. Empty: this host lets no program have breakpoints.
class NativeRun {
  public:
    std::optional<std::vector<Trap>> run(const Setting& setting) {
        size_t size = LOCKSTEP_GUEST_CODE(breakpoints).size();
        code_ =
            mmap(nullptr, kPageSize, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        data_ = mmap(nullptr, 4 * kPageSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        std::memcpy(code_, guest_breakpoints, size);
        child_ = fork();
        if (child_ == 0) {
            ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
            raise(SIGSTOP);
            _exit(0);
        }
        std::optional<std::vector<Trap>> traps = trace(setting);
        kill(child_, SIGKILL);
        waitpid(child_, nullptr, 0);
        munmap(code_, kPageSize);
        munmap(data_, 4 * kPageSize);
        return traps;
    }

  private:
    bool set_debug(unsigned number, uint64_t value) {
        return ptrace(PTRACE_POKEUSER, child_, offsetof(user, u_debugreg) + number * sizeof(uint64_t),
                      value) == 0;
    }
    user_regs_struct registers() {
        user_regs_struct found{};
        ptrace(PTRACE_GETREGS, child_, nullptr, &found);
        return found;
    }
    std::optional<std::vector<Trap>> trace(const Setting& setting) {
        int status = 0;
        waitpid(child_, &status, 0);
        auto code = reinterpret_cast<uint64_t>(code_), data = reinterpret_cast<uint64_t>(data_);
        user_regs_struct start = registers();
        start.rip = code;
        start.rbx = data;
        start.rsp = data + 4 * kPageSize;
        start.r12 = kRounds;
        start.rax = start.rcx = 0;
        start.eflags = 2;
        ptrace(PTRACE_SETREGS, child_, nullptr, &start);
        for (unsigned number = 0; number < setting.at.size(); ++number)
            if (!set_debug(number, setting.at[number] + (setting.code ? code : data))) return std::nullopt;
        if (!set_debug(7, setting.control)) return std::nullopt;
        std::vector<Trap> traps;
        while (true) {
            ptrace(PTRACE_CONT, child_, nullptr, nullptr);
            waitpid(child_, &status, 0);
            if (!WIFSTOPPED(status) || WSTOPSIG(status) != SIGTRAP) return traps;
            user_regs_struct now = registers();
            auto causes = static_cast<uint64_t>(
                ptrace(PTRACE_PEEKUSER, child_, offsetof(user, u_debugreg) + 6 * sizeof(uint64_t), nullptr));
            set_debug(6, 0);
            traps.push_back(
                {now.rip - code, causes & kBitsOfCauses, now.rcx, now.eflags & cpu::kArithmeticFlags});
        }
    }

    void* code_ = nullptr;
    void* data_ = nullptr;
    pid_t child_ = 0;
};

/// What the bare CPU does, once for all configurations.
const std::optional<std::vector<Trap>>& native_traps(const Setting& setting) {
    static std::map<std::string, std::optional<std::vector<Trap>>> known;
    auto [place, fresh] = known.try_emplace(setting.name);
    if (fresh) place->second = NativeRun().run(setting);
    return place->second;
}

enum class Mode : uint8_t { kKernel, kUser };

class BreakpointsTest : public GuestTest {
  protected:
    static uint64_t code_of(Mode mode) { return mode == Mode::kUser ? kUserCode : kPhysicalMap + kCodeArea; }
    static uint64_t data_of(Mode mode) { return mode == Mode::kUser ? kUserData : kPhysicalMap + kDataArea; }
    void prepare(const Setting& setting, Mode mode) {
        load(LOCKSTEP_GUEST_CODE(breakpoints));
        LongMode& tables = *machine.long_mode;
        tables.map(kUserCode, kCodeArea, kPresent | kUser);
        for (uint64_t page = 0; page < 4 * kPageSize; page += kPageSize)
            tables.map(kUserData + page, kDataArea + page, kPresent | kWritable | kUser);
        tables.set_gate(cpu::kDb, at(breakpoints_trap), 0);
        uint64_t code = code_of(mode), data = data_of(mode);
        cpu::CpuState& state = machine.cpu->state;
        if (mode == Mode::kUser) state.rip = at(breakpoints_user);
        for (size_t number = 0; number < setting.at.size(); ++number)
            state.dr[number] = setting.at[number] + (setting.code ? code : data);
        state.dr[7] |= setting.control;
        machine.vcpu->state_replaced();
        machine.set_reg(cpu::kRbx, data);
        machine.set_reg(cpu::kRdx, kUserCode);
        machine.set_reg(cpu::kR8, kPhysicalMap + kTrapLog);
        machine.set_reg(cpu::kR10, setting.bits_of_code());
        machine.set_reg(cpu::kR12, kRounds);
    }
    std::vector<Trap> run(const Setting& setting, Mode mode) {
        prepare(setting, mode);
        uint64_t code = code_of(mode);
        EXPECT_EQ(machine.run_to_end(), translate::VcpuExit::kHalted);
        EXPECT_EQ(machine.events().size(), 1u) << "INT 0xff";
        EXPECT_EQ(machine.reg(cpu::kR12), 0u);
        std::vector<Trap> traps;
        for (uint64_t log = kTrapLog; machine.read(log); log += 32) {
            traps.push_back({machine.read(log) - code, machine.read(log + 8) & kBitsOfCauses,
                             machine.read(log + 16), machine.read(log + 24) & cpu::kArithmeticFlags});
        }
        return traps;
    }
    void compare(Mode mode) {
        for (const Setting& setting : settings()) {
            SCOPED_TRACE(setting.name);
            const std::optional<std::vector<Trap>>& wanted = native_traps(setting);
            if (!wanted) GTEST_SKIP() << "this host lets no program have breakpoints";
            EXPECT_EQ(run(setting, mode), *wanted);
        }
    }
};

TEST_P(BreakpointsTest, KernelCodeTrapsAsOnTheBareCpu) { compare(Mode::kKernel); }

TEST_P(BreakpointsTest, UserCodeTrapsAsOnTheBareCpu) { compare(Mode::kUser); }

using Stop = cpu::Breakpoints::Stop;

/// What a debugger's stops are to see: the instruction at each icount, and what the data were before it.
struct Course {
    std::vector<uint64_t> rips;
    std::vector<Bytes> data;
    std::string end;
};

class DebuggerStopsTest : public BreakpointsTest {
  protected:
    static constexpr uint64_t kWatched = 2 * kPageSize;
    static constexpr Setting kNone{"none", {0, 0}, 0};

    Bytes data() const {
        const uint8_t* start = machine.memory->host(GuestPhys(kDataArea));
        return {start, start + kWatched};
    }
    std::string state() const {
        return describe(machine.cpu->state) + fmt::format(" memory {:x}", machine.memory->hash());
    }
    Course by_single_steps(Mode mode) {
        prepare(kNone, mode);
        Course course;
        auto exit = translate::VcpuExit::kReached;
        while (exit == translate::VcpuExit::kReached) {
            course.rips.push_back(machine.cpu->state.rip);
            course.data.push_back(data());
            exit = machine.run(machine.cpu->state.icount + 1);
        }
        EXPECT_EQ(exit, translate::VcpuExit::kHalted);
        course.end = state();
        return course;
    }
    /// The icounts at which the machine was left.
    std::vector<uint64_t> stops_of(const std::vector<Stop>& stops, Mode mode, const Course& course) {
        prepare(kNone, mode);
        machine.cpu->breakpoints.set_stops(stops);
        std::vector<uint64_t> found;
        while (machine.run_to_end() == translate::VcpuExit::kStop) {
            EXPECT_TRUE(machine.cpu->breakpoints.take_stop());
            found.push_back(machine.cpu->state.icount.value());
        }
        EXPECT_EQ(state(), course.end) << "the guest notices them";
        machine.cpu->breakpoints.set_stops({});
        return found;
    }
};

TEST_P(DebuggerStopsTest, StandBeforeEachOfTheirInstructions) {
    for (Mode mode : {Mode::kKernel, Mode::kUser}) {
        Course course = by_single_steps(mode);
        std::set<uint64_t> at;
        for (const uint8_t* label :
             {breakpoints_body, breakpoints_target, breakpoints_last, breakpoints_strings})
            at.insert(code_of(mode) + offset_of(label));
        std::vector<uint64_t> wanted;
        for (uint64_t icount = 0; icount < course.rips.size(); ++icount)
            if (at.contains(course.rips[icount])) wanted.push_back(icount);
        std::vector<Stop> stops;
        for (uint64_t address : at) stops.push_back({address, 1, cpu::Breakpoints::Kind::kCode, 0});
        EXPECT_GT(wanted.size(), 10u);
        EXPECT_EQ(stops_of(stops, mode, course), wanted);
    }
}

TEST_P(DebuggerStopsTest, StandBehindEachChangeOfTheirData) {
    for (Mode mode : {Mode::kKernel, Mode::kUser}) {
        Course course = by_single_steps(mode);
        for (auto [start, size] :
             {std::pair<uint64_t, uint64_t>{16, 4}, {24, 1}, {kPageSize - 4, 8}, {0, 200}}) {
            std::vector<Stop> stops = {{data_of(mode) + start, size, cpu::Breakpoints::Kind::kWrite, 0}};
            std::vector<uint64_t> found = stops_of(stops, mode, course);
            unsigned changes = 0;
            for (uint64_t icount = 1; icount < course.data.size(); ++icount) {
                auto part = [&](uint64_t at) { return ByteSpan(course.data[at]).subspan(start, size); };
                if (std::ranges::equal(part(icount - 1), part(icount))) continue;
                ++changes;
                EXPECT_TRUE(std::ranges::binary_search(found, icount))
                    << "the change of " << size << " bytes at " << start
                    << " by the instruction before icount " << icount;
            }
            EXPECT_GT(changes, 0u);
            EXPECT_LE(found.size(), 120 * kRounds) << "stops where nothing was written";
        }
    }
}

LOCKSTEP_IN_EVERY_CONFIGURATION(DebuggerStopsTest);

TEST_P(BreakpointsTest, SetByInstructions) {
    load(LOCKSTEP_GUEST_CODE(debug_registers));
    machine.set_reg(cpu::kRbx, kPhysicalMap + kDataArea);
    ASSERT_EQ(machine.run_to_end(), translate::VcpuExit::kHalted);
    std::vector<Event> events = machine.events();
    ASSERT_EQ(events.size(), 3u);
    expect_event(events[0], cpu::kDb, 0, registers_written, "a write by DR1");
    expect_event(events[1], cpu::kDb, 0, registers_detected, "general detect");
    expect_event(events[2], cpu::kDb, 0, registers_port, "a port, once CR4.DE is set");
    EXPECT_EQ(machine.cpu->state.dr[6] & 0xffff, 0x0ff0u | 1 | x86::kDr6Bd);
    EXPECT_EQ(machine.reg(cpu::kR12) & x86::kDr7Gd, 0u) << "the trap's delivery clears it";
}

LOCKSTEP_IN_EVERY_CONFIGURATION(BreakpointsTest);

}  // namespace
}  // namespace lockstep::guests
