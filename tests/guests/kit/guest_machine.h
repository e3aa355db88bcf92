// SPDX-License-Identifier: Apache-2.0
// A small machine for the test guests: RAM, a vCPU in 64-bit mode, a handler behind every gate that keeps a
// log, and the test platform. A guest is a piece of position-independent code out of a .S file (see
// guest_code.inc).
//
//     guest-physical  0x001000  descriptor tables, stacks (LongMode)
//                     0x020000  page tables
//                     0x180000  the handlers' log, then variables of the guest
//                     0x1c0000  the handlers
//                     0x200000  the guest's code
//                     0x300000  data of the guest
//
// The kernel sees all of that from kPhysicalMap on. User code, where a guest has any, is mapped by the test.
#pragma once

#include <array>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "cpu/cpu.h"
#include "kit/engine_configurations.h"
#include "kit/long_mode.h"
#include "kit/test_platform.h"
#include "memory/guest_memory.h"
#include "translate/vcpu.h"

namespace lockstep::guests {

inline constexpr uint64_t kLogArea = 0x180000;
inline constexpr uint64_t kHandlerArea = 0x1c0000;
inline constexpr uint64_t kCodeArea = 0x200000;
inline constexpr uint64_t kDataArea = 0x300000;
inline constexpr uint64_t kRamBytes = 4 << 20;
inline constexpr uint64_t kStackTop = 0x10000;           ///< of the guest in kernel mode
inline constexpr uint64_t kInterruptStackTop = 0x18000;  ///< RSP0 of the task state segment
inline constexpr uint64_t kEndVector = 0xff;             ///< INT 0xff, also of user code, ends the guest

/// For TestPlatform::schedule_interrupt(): the interrupt that ends a HLT.
inline constexpr Icount kWhenHalted{1'000'000};

/// What the handlers write down of each exception and interrupt.
struct Event {
    uint64_t vector, error_code, rip, cs, rflags, rsp, ss, cr2;
    bool operator==(const Event&) const = default;
};

/// The code between two labels of a .S file.
struct GuestCode {
    const uint8_t* start;
    const uint8_t* end;
    size_t size() const { return static_cast<size_t>(end - start); }
    /// The offset of a label inside.
    uint64_t offset(const uint8_t& label) const { return static_cast<uint64_t>(&label - start); }
};

class GuestMachine {
  public:
    /// Its CPU model is the best that this host has.
    explicit GuestMachine(const EngineConfiguration& wanted) : GuestMachine(wanted, best_model()) {}
    GuestMachine(const EngineConfiguration& wanted, x86::CpuModel model);
    static x86::CpuModel best_model();

    /// Puts the code at kCodeArea and the vCPU before it, in kernel mode with interrupts off. All RAM but the
    /// page and descriptor tables is zero again, the platform empty, icount 0.
    void load(const GuestCode& code);
    /// The kernel's address of something in the code.
    uint64_t address(uint64_t offset) const { return kPhysicalMap + kCodeArea + offset; }

    /// Runs until the guest halts for good, raising the platform's interrupts on the way. While it is halted
    /// with interrupts on, the next one comes at once.
    translate::VcpuExit run_to_end(Icount until = Icount(10'000'000));
    /// Runs to `until` exactly.
    translate::VcpuExit run(Icount until);

    std::vector<Event> events() const;
    uint64_t read(uint64_t physical) const { return memory->read_number<uint64_t>(GuestPhys(physical)); }
    void write(uint64_t physical, uint64_t value) { memory->write_number(GuestPhys(physical), value); }
    uint64_t reg(cpu::Gpr number) const { return cpu->state.gpr[number]; }
    void set_reg(cpu::Gpr number, uint64_t value) { cpu->state.gpr[number] = value; }

    EngineConfiguration configuration;
    TestPlatform platform;
    std::unique_ptr<memory::GuestMemory> memory;
    std::unique_ptr<LongMode> long_mode;
    std::unique_ptr<cpu::Cpu> cpu;
    std::unique_ptr<translate::Vcpu> vcpu;
};

/// The registers of a vCPU as text, for messages.
std::string describe(const cpu::CpuState& state);

}  // namespace lockstep::guests
