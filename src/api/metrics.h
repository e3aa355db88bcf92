// SPDX-License-Identifier: Apache-2.0
// What Prometheus reads: a table of metrics over the states of VMs and of this host, in its text format.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "api/answers.h"

namespace lockstep::api {

enum class MetricType : uint8_t { kGauge, kCounter };

struct MetricName {
    std::string_view name;
    MetricType type;
    std::string_view help;
};
/// All of them, those of a VM (with the label "vm") first.
std::vector<MetricName> metric_names();

/// A scrape. `states`: of all VMs of this host; one that doesn't answer is a problem with a name.
std::string metrics_text(const HostFacts& host, const std::vector<Json>& states);

}  // namespace lockstep::api
