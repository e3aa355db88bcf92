// SPDX-License-Identifier: Apache-2.0
#include "kit/guest_machine.h"

#include <fmt/format.h>

#include "base/check.h"
#include "host/limits.h"

extern "C" const uint8_t guest_handlers[], guest_handlers_end[];

namespace lockstep::guests {

namespace {

constexpr uint64_t kHandlerStride = 16;
constexpr size_t kMostEvents = 2000;

}  // namespace

GuestMachine::GuestMachine(const EngineConfiguration& the_configuration, x86::CpuModel model)
    : configuration(the_configuration) {
    Result<std::unique_ptr<memory::GuestMemory>> made = memory::GuestMemory::create(kRamBytes);
    CHECK(made.ok(), "{}", made.error().message());
    memory = made.take();
    cpu = std::make_unique<cpu::Cpu>(*memory, platform, model);
    vcpu = std::make_unique<translate::Vcpu>(*cpu, configuration.options);
}

x86::CpuModel GuestMachine::best_model() {
    static const x86::CpuModel model = host::best_cpu_model();
    return model;
}

void GuestMachine::load(const GuestCode& code) {
    memory->write(GuestPhys(0), Bytes(kRamBytes));
    platform.clear();
    long_mode = std::make_unique<LongMode>(*memory);
    memory->write(GuestPhys(kHandlerArea), {guest_handlers, guest_handlers_end});
    memory->write(GuestPhys(kCodeArea), {code.start, code.end});
    for (unsigned vector = 0; vector < 256; ++vector) {
        bool open = vector == cpu::kBp || vector >= 0x80;
        long_mode->set_gate(static_cast<uint8_t>(vector),
                            kPhysicalMap + kHandlerArea + kHandlerStride * vector, open ? 3 : 0);
    }
    long_mode->set_kernel_stack(kPhysicalMap + kInterruptStackTop);
    cpu->state = cpu::CpuState{};
    long_mode->enter_kernel(cpu->state, address(0), kPhysicalMap + kStackTop);
    cpu->mmu.clear();
    vcpu->state_replaced();
}

translate::VcpuExit GuestMachine::run(Icount until) {
    for (;;) {
        platform.advance(cpu->state.icount);
        translate::VcpuExit exit = vcpu->run(until);
        bool waits = exit == translate::VcpuExit::kHalted && (cpu->state.rflags & cpu::kFlagIf);
        if (waits && platform.next_event() != kNeverIcount)
            platform.advance(platform.next_event());
        else if (exit != translate::VcpuExit::kReached || cpu->state.icount >= until)
            return exit;
    }
}

translate::VcpuExit GuestMachine::run_to_end(Icount until) {
    translate::VcpuExit exit = run(until);
    CHECK(exit != translate::VcpuExit::kReached, "engine {}: the guest doesn't end; {}", configuration.name,
          describe(cpu->state));
    return exit;
}

std::vector<Event> GuestMachine::events() const {
    std::vector<Event> events(std::min<uint64_t>(read(kLogArea), kMostEvents));
    for (size_t i = 0; i < events.size(); ++i) {
        uint64_t at = kLogArea + 64 * (i + 1);
        events[i] = {read(at),      read(at + 8),  read(at + 16), read(at + 24),
                     read(at + 32), read(at + 40), read(at + 48), read(at + 56)};
    }
    return events;
}

std::string describe(const cpu::CpuState& state) {
    std::string text = fmt::format("icount {} rip {:#x} rflags {:#x} cpl {} cr2 {:#x}", state.icount.value(),
                                   state.rip, state.rflags, state.cpl(), state.cr2);
    for (size_t i = 0; i < state.gpr.size(); ++i) text += fmt::format(" {}:{:x}", i, state.gpr[i]);
    return text;
}

}  // namespace lockstep::guests
