// SPDX-License-Identifier: Apache-2.0
#include "drive/time_policy.h"

#include <algorithm>
#include <cmath>

namespace lockstep::drive {

namespace {

constexpr double kRateOne = 4294967296.0;  // bus::kRateOne
constexpr uint64_t kFewInstructions = 50'000;

}  // namespace

void TimePolicy::start(uint64_t host_ns, uint64_t guest_ns, uint64_t behind_ns) {
    host_origin_ = host_ns;
    guest_origin_ = guest_ns + behind_ns;
    lead_ns_ = 0;
    lead_since_ = host_ns;
    error_ns_ = 0;
    ran_ns_ = ran_instructions_ = 0;
}

void TimePolicy::halted(uint64_t host_ns, uint64_t guest_ns) {
    uint64_t wanted = target(host_ns);
    if (guest_ns <= wanted) return;
    lead_ns_ = guest_ns - wanted + lead_at(host_ns);
    lead_since_ = host_ns;
}

uint64_t TimePolicy::host_time_of(uint64_t guest_ns) const {
    if (guest_ns <= guest_origin_) return host_origin_;
    uint64_t without_lead = host_origin_ + (guest_ns - guest_origin_);
    uint64_t lead_ends = lead_since_ + lead_ns_ * kLeadDecay;
    if (without_lead >= lead_ends) return without_lead;
    uint64_t at_grant = target(lead_since_);
    if (guest_ns <= at_grant) return lead_since_;
    return lead_since_ +
           ((guest_ns - at_grant) * kLeadDecay + kLeadDecay - 2) / (kLeadDecay - 1);  // rounded up
}

uint64_t TimePolicy::advance(uint64_t host_ns, uint64_t guest_ns) const {
    uint64_t wanted = target(host_ns);
    return wanted > guest_ns ? wanted - guest_ns : 0;
}

void TimePolicy::ran(uint64_t ran_ns, uint64_t instructions) {
    ran_ns_ += ran_ns;
    ran_instructions_ += instructions;
}

std::optional<uint64_t> TimePolicy::steer(uint64_t host_ns, uint64_t guest_ns, uint64_t present_rate) {
    auto error_ns = static_cast<int64_t>(target(host_ns) - guest_ns);
    bool hurry = error_ns < 0 && error_ns < error_ns_ - kHurryNs;
    if ((ran_ns_ < kPeriodNs && !hurry) || ran_instructions_ < kFewInstructions) return std::nullopt;
    error_ns_ = error_ns;
    double measured = static_cast<double>(ran_ns_) / static_cast<double>(ran_instructions_);
    // What was measured before a sudden change says nothing any more.
    ns_per_instruction_ = measured_ && !hurry ? 0.5 * ns_per_instruction_ + 0.5 * measured : measured;
    measured_ = true;
    ran_ns_ = ran_instructions_ = 0;

    double correction =
        std::clamp(static_cast<double>(error_ns) / static_cast<double>(kHorizonNs), -0.75, 3.0);
    double rate = std::clamp(ns_per_instruction_ * (1.0 + correction) * kRateOne, 1e6, 1e15);
    double change = std::abs(rate / static_cast<double>(std::max<uint64_t>(present_rate, 1)) - 1.0);
    bool worthwhile =
        change > 0.25 || (change > 0.02 && std::abs(error_ns) > static_cast<int64_t>(kToleranceNs));
    if (!worthwhile) return std::nullopt;
    return static_cast<uint64_t>(rate);
}

uint64_t TimePolicy::instructions_in(uint64_t ns) const {
    return std::max<uint64_t>(1000, static_cast<uint64_t>(static_cast<double>(ns) / ns_per_instruction_));
}

}  // namespace lockstep::drive
