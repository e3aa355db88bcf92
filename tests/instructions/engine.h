// SPDX-License-Identifier: Apache-2.0
// One engine configuration, set up so that it runs cases as the bare CPU does: user mode of a 64-bit kernel
// whose pages lie at shuffled frames. Each gate of the IDT leads to a HLT of its own, so an exception ends
// the case and the frame that it pushed is read back.
#pragma once

#include <array>
#include <memory>
#include <optional>

#include "cpu/cpu.h"
#include "kit/engine_configurations.h"
#include "kit/long_mode.h"
#include "kit/test_platform.h"
#include "memory/guest_memory.h"
#include "sandbox.h"
#include "translate/vcpu.h"

namespace lockstep::instructions {

class Engine {
  public:
    explicit Engine(const guests::EngineConfiguration& configuration);

    const guests::EngineConfiguration& configuration() const { return configuration_; }

    /// Runs a case whose sandbox begins as `image`. Where `stop_after` is given, the vCPU is stopped after so
    /// many instructions (unless the case ends before), `at_stop` is set, and it goes on from there.
    void run(const Case& test_case, const Image& image, Outcome& outcome,
             std::optional<uint64_t> stop_after = std::nullopt);

    /// The state where run() stopped the vCPU; empty where the case had ended before.
    const std::optional<UserState>& at_stop() const { return at_stop_; }

  private:
    void load(const Case& test_case, const Image& image);
    UserState user_state() const;
    void read_outcome(uint64_t start, Outcome& outcome);

    guests::EngineConfiguration configuration_;
    guests::TestPlatform platform_;
    std::unique_ptr<memory::GuestMemory> memory_;
    std::unique_ptr<cpu::Cpu> cpu_;
    std::unique_ptr<translate::Vcpu> vcpu_;
    std::unique_ptr<guests::LongMode> long_mode_;
    std::array<uint64_t, kSandbox.size()> frames_{};
    std::optional<UserState> at_stop_;
};

}  // namespace lockstep::instructions
