// SPDX-License-Identifier: Apache-2.0
// The fixture of the guest tests: each runs in every engine configuration.
#pragma once

#include <gtest/gtest.h>

#include "kit/guest_machine.h"

/// Declares the code of `guest <name>` in a .S file, and labels inside.
#define LOCKSTEP_GUEST(name) extern "C" const uint8_t guest_##name[], guest_##name##_end[]
#define LOCKSTEP_GUEST_LABEL(name) extern "C" const uint8_t name[]
#define LOCKSTEP_GUEST_CODE(name) \
    ::lockstep::guests::GuestCode { guest_##name, guest_##name##_end }

namespace lockstep::guests {

class GuestTest : public testing::TestWithParam<EngineConfiguration> {
  protected:
    GuestTest() : machine(GetParam()) {}

    void load(const GuestCode& code) {
        code_ = code;
        machine.load(code);
    }
    /// The kernel's address of a label of the loaded guest.
    uint64_t at(const uint8_t* label) const { return machine.address(code_.offset(*label)); }
    void expect_event(const Event& event, uint64_t vector, uint64_t error_code, const uint8_t* rip,
                      const char* what) const {
        EXPECT_EQ(event.vector, vector) << what;
        EXPECT_EQ(event.error_code, error_code) << what;
        EXPECT_EQ(event.rip, at(rip)) << what;
    }

    GuestMachine machine;

  private:
    GuestCode code_{};
};

inline std::string configuration_name(const testing::TestParamInfo<EngineConfiguration>& info) {
    return std::string(info.param.name);
}

#define LOCKSTEP_IN_EVERY_CONFIGURATION(suite)                                                            \
    INSTANTIATE_TEST_SUITE_P(Engine, suite, testing::ValuesIn(::lockstep::guests::kEngineConfigurations), \
                             ::lockstep::guests::configuration_name)

}  // namespace lockstep::guests
