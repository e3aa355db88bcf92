// SPDX-License-Identifier: Apache-2.0
// Random code at both privilege levels, among pages of all kinds: RAM, read-only, absent, the kernel's alone, devices,
// code that can be written to, each beside each. Nothing judges what such code does, but that it comes to the same end
// however it is run.
//
//     0x20000000 ...            the pages, as user code sees them
//     0xffff900000000000 ...    the same frames, for the kernel
//
// Handlers go on behind the first byte of what has faulted, so a run is long.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cpu/cpu.h"
#include "kit/engine_configurations.h"
#include "memory/guest_memory.h"
#include "sandbox.h"
#include "translate/vcpu.h"

namespace lockstep::instructions {

/// The start of a run, out of a seed.
struct FuzzCase {
    std::string name;  ///< what to give to --case to repeat it
    cpu::CpuState state;
    GuestPhys code_at;
    Bytes code;
    std::vector<std::pair<Icount, uint8_t>> interrupts;  ///< in order: when, which vector
};

/// "machine:<seed>"
FuzzCase generate_fuzz_case(uint64_t seed);
std::string describe(const FuzzCase& fuzz_case);

/// How the instructions of a run are dealt out.
enum class Stops : uint8_t { kNone, kRandom };

class FuzzPlatform;

class FuzzMachine {
  public:
    explicit FuzzMachine(const guests::EngineConfiguration& configuration);
    ~FuzzMachine();

    std::string_view name() const { return configuration_.name; }
    /// Runs a case to its end: a HLT, a triple fault, or some hundred instructions.
    void run(const FuzzCase& fuzz_case, Stops stops);
    /// How this run's end differs from another's; empty where it doesn't.
    std::string compare(const FuzzMachine& other) const;
    uint64_t executed() const { return executed_; }  ///< instructions of the last run

  private:
    void load(const FuzzCase& fuzz_case);

    guests::EngineConfiguration configuration_;
    std::unique_ptr<memory::GuestMemory> memory_;
    std::unique_ptr<FuzzPlatform> platform_;
    std::unique_ptr<cpu::Cpu> cpu_;
    std::unique_ptr<translate::Vcpu> vcpu_;
    translate::VcpuExit exit_{};
    uint64_t executed_ = 0;
};

}  // namespace lockstep::instructions
