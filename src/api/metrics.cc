// SPDX-License-Identifier: Apache-2.0
#include "api/metrics.h"

#include <fmt/format.h>

#include <optional>

#include "host/limits.h"

namespace lockstep::api {

namespace {

using enum MetricType;

/// Of a VM: what it is made of, in the status, and times what.
struct VmMetric {
    MetricName name;
    std::string_view pointer;  ///< as in RFC 6901
    double scale = 1;
};

// clang-format off
constexpr VmMetric kVmMetrics[] = {
    {{"lockstep_vm_protected", kGauge, "1: a backup may take over"}, "/protected"},
    {{"lockstep_vm_term", kGauge, "Grows with each fail-over"}, "/term"},
    {{"lockstep_vm_lag_seconds", kGauge, "Execution lag of the backup"}, "/lag_ms", 1e-3},
    {{"lockstep_vm_speed_ratio", kGauge, "The share of its speed at which the guest runs; below 1 the lag is being brought down"}, "/speed_permille", 1e-3},
    {{"lockstep_vm_log_buffered_bytes", kGauge, "Log that the backup hasn't executed"}, "/buffered_bytes"},
    {{"lockstep_vm_log_sent_bytes_total", kCounter, "Sent to backups"}, "/log_bytes"},
    {{"lockstep_vm_log_entries_total", kCounter, "Log entries made"}, "/log_position"},
    {{"lockstep_vm_state_hashes_total", kCounter, "State hashes made, or on a backup found equal"}, "/state_hashes"},
    {{"lockstep_vm_instructions_total", kCounter, "Instructions of the guest"}, "/icount"},
    {{"lockstep_vm_outputs_held", kGauge, "Outputs that wait for the backup now"}, "/held_outputs"},
    {{"lockstep_vm_output_wait_median_seconds", kGauge, "How long outputs have waited for the backup, in the median"}, "/output_wait/median_us", 1e-6},
    {{"lockstep_vm_output_wait_p99_seconds", kGauge, "How long outputs have waited for the backup, at 99 %"}, "/output_wait/p99_us", 1e-6},
    {{"lockstep_vm_guest_busy_ratio", kGauge, "The share of a processor that the guest takes"}, "/guest/busy_permille", 1e-3},
    {{"lockstep_vm_guest_resets_total", kCounter, "Resets of the guest that this process has seen"}, "/guest/resets"},
    {{"lockstep_vm_guest_panics_total", kCounter, "Panics of the guest's kernel that this process has seen"}, "/guest/panics"},
    {{"lockstep_vm_packets_received_total", kCounter, "Packets for the guest"}, "/traffic/packets_in"},
    {{"lockstep_vm_packets_sent_total", kCounter, "Packets of the guest"}, "/traffic/packets_out"},
    {{"lockstep_vm_disk_reads_total", kCounter, "Disk requests that read"}, "/traffic/disk_reads"},
    {{"lockstep_vm_disk_writes_total", kCounter, "Disk requests that write"}, "/traffic/disk_writes"},
    {{"lockstep_vm_disk_errors_total", kCounter, "Disk requests that failed"}, "/traffic/disk_errors"},
    {{"lockstep_vm_copied_bytes", kGauge, "Of the guest's memory, in the copy for a new backup"}, "/copy/bytes_done"},
    {{"lockstep_vm_copy_bytes", kGauge, "Of the guest's memory, that the copy for a new backup has to move"}, "/copy/bytes_of"},
    {{"lockstep_vm_copy_longest_pause_seconds", kGauge, "How long the guest stood still at a time for the last copy"}, "/copy/longest_pause_ms", 1e-3},
    {{"lockstep_vm_forged_datagrams_total", kCounter, "Heartbeats that weren't the other side's"}, "/ignored_datagrams/forged"},
    {{"lockstep_vm_careful", kGauge, "1: the engine does without its optimisations, since a fault of its own has ended the primary"}, "/careful"},
    {{"lockstep_vm_memory_bytes", kGauge, "The guest's memory"}, "/memory_bytes"},
    {{"lockstep_vm_uptime_seconds", kGauge, "Since the process started"}, "/uptime_ms", 1e-3},
};
// clang-format on

constexpr MetricName kUp = {"lockstep_vm_up", kGauge, "1: the VM's process answers"};
constexpr MetricName kInfo = {"lockstep_vm_info", kGauge,
                              "1: of the VM's role and state here, in the labels"};
constexpr MetricName kOwner = {"lockstep_vm_owner", kGauge, "1: the guest runs here; 0: this is its backup"};
constexpr MetricName kNetworkFaults = {"lockstep_vm_network_faults", kGauge,
                                       "Networks of the guest that lead nowhere on this host"};
constexpr MetricName kCopying = {"lockstep_vm_copying", kGauge, "1: a copy for a new backup is made"};
constexpr MetricName kHostMemory = {"lockstep_host_memory_available_bytes", kGauge,
                                    "Memory of the host that could be had"};
constexpr MetricName kHostInsecure = {"lockstep_host_insecure", kGauge,
                                      "1: the API lets in whoever reaches it"};
constexpr MetricName kHostExpiry = {"lockstep_host_certificate_expiry_timestamp_seconds", kGauge,
                                    "When the host's certificate expires; 0: it has none"};

std::string_view text_of(MetricType type) { return type == kGauge ? "gauge" : "counter"; }

std::string escaped(const std::string& text) {
    std::string result;
    for (char c : text) {
        if (c == '\\' || c == '"') result += '\\';
        result += c == '\n' ? ' ' : c;
    }
    return result;
}

std::optional<double> number_of(const Json& value) {
    if (value.is_boolean()) return value.get<bool>() ? 1 : 0;
    if (value.is_number()) return value.get<double>();
    return {};
}

std::string text_in(const Json& object, const char* key) {
    auto found = object.find(key);
    return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

class Text {
  public:
    void begin(const MetricName& metric) {
        text_ +=
            fmt::format("# HELP {0} {1}\n# TYPE {0} {2}\n", metric.name, metric.help, text_of(metric.type));
        name_ = metric.name;
    }
    void add(const std::string& labels, double value) {
        text_ += fmt::format("{}{} {}\n", name_, labels.empty() ? "" : "{" + labels + "}", value);
    }
    std::string take() { return std::move(text_); }

  private:
    std::string text_;
    std::string_view name_;
};

std::string label_of(const Json& state) { return fmt::format("vm=\"{}\"", escaped(text_in(state, "name"))); }

/// A metric of each VM for which `value` gives one.
template <typename Value>
void add_each(Text& text, const MetricName& metric, const std::vector<Json>& states, Value value) {
    text.begin(metric);
    for (const Json& state : states)
        if (std::optional<double> number = value(state)) text.add(label_of(state), *number);
}

std::optional<double> network_faults(const Json& state) {
    auto networks = state.find("networks");
    if (networks == state.end()) return {};
    double faults = 0;
    for (const Json& network : *networks) faults += text_in(network, "fault").empty() ? 0 : 1;
    return faults;
}

std::optional<double> owner(const Json& state) {
    std::string role = text_in(state, "role");
    if (role != "backup" && role != "solo" && role != "primary" && role != "waiting") return {};
    return role == "backup" ? 0 : 1;
}

std::optional<double> copying(const Json& state) {
    auto copy = state.find("copy");
    if (copy == state.end()) return {};
    return text_in(*copy, "phase").empty() ? 0 : 1;
}

void add_info(Text& text, const std::vector<Json>& states) {
    text.begin(kInfo);
    for (const Json& state : states)
        if (!control::is_problem(state))
            text.add(fmt::format("{},role=\"{}\",state=\"{}\"", label_of(state), text_in(state, "role"),
                                 text_in(state, "state")),
                     1);
}

}  // namespace

std::vector<MetricName> metric_names() {
    std::vector<MetricName> names = {kUp, kInfo, kOwner, kNetworkFaults, kCopying};
    for (const VmMetric& metric : kVmMetrics) names.push_back(metric.name);
    names.insert(names.end(), {kHostMemory, kHostInsecure, kHostExpiry});
    return names;
}

std::string metrics_text(const HostFacts& host, const std::vector<Json>& states) {
    Text text;
    add_each(text, kUp, states,
             [](const Json& state) { return std::optional<double>(control::is_problem(state) ? 0 : 1); });
    add_info(text, states);
    add_each(text, kOwner, states, owner);
    add_each(text, kNetworkFaults, states, network_faults);
    add_each(text, kCopying, states, copying);
    for (const VmMetric& metric : kVmMetrics) {
        Json::json_pointer pointer{std::string(metric.pointer)};
        add_each(text, metric.name, states, [&](const Json& state) -> std::optional<double> {
            if (!state.contains(pointer)) return {};
            std::optional<double> number = number_of(state[pointer]);
            return number ? std::optional(*number * metric.scale) : number;
        });
    }
    text.begin(kHostMemory);
    text.add("", static_cast<double>(host::available_memory()));
    text.begin(kHostInsecure);
    text.add("", host.insecure ? 1 : 0);
    text.begin(kHostExpiry);
    text.add("", static_cast<double>(host.certificate_until_s));
    return text.take();
}

}  // namespace lockstep::api
