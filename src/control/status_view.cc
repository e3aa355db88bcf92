// SPDX-License-Identifier: Apache-2.0
// The status of a VM, for programs and for people.
#include "control/actions.h"
#include "host/tap_device.h"
#include "pair/wait_meter.h"

namespace lockstep::control {

namespace {

std::string role_of(const vmm::VmStatus& status) {
    if (!status.started) return "starting";
    replica::State state = status.replica.state;
    if (replica::is_over(state)) return "stopped";
    if (replica::is_backup(state)) return "backup";
    if (!status.replica.may_act) return "waiting";
    return state == replica::State::kSolo ? "solo" : "primary";
}

std::string bits_text(double bits_per_second) {
    if (bits_per_second >= 1e6) return fmt::format("{:.2f} Mbit/s", bits_per_second / 1e6);
    return fmt::format("{:.1f} kbit/s", bits_per_second / 1e3);
}

double microseconds(uint64_t ns) { return static_cast<double>(ns) / 1e3; }

Json wait_view(const pair::WaitMeter& waits) {
    return {{"count", waits.count()},
            {"mean_us", microseconds(waits.mean_ns())},
            {"median_us", microseconds(waits.quantile_ns(500))},
            {"p99_us", microseconds(waits.quantile_ns(990))},
            {"longest_us", microseconds(waits.longest_ns())}};
}

std::string latency_text(const Json& wait) {
    if (!wait.contains("beyond_link") || wait["count"] == 0) return "";
    const Json& beyond = wait["beyond_link"];
    return fmt::format(
        "  outputs waited {:.0f} us in the median ({:.0f} at 99 %) beyond the link's round trip of {:.0f} "
        "us\n",
        beyond["median_us"].get<double>(), beyond["p99_us"].get<double>(),
        wait["link_round_trip_us"].get<double>());
}

Json optional_json(const std::optional<uint64_t>& value) { return value ? Json(*value) : Json(nullptr); }

Json guest_view(const vmm::VmStatus::Guest& guest) {
    return {{"busy_permille", guest.busy_permille},
            {"last_output_ms", optional_json(guest.last_output_ms)},
            {"resets", guest.resets},
            {"panics", guest.panics},
            {"last_panic", guest.last_panic},
            {"last_panic_ms", optional_json(guest.last_panic_ms)}};
}

double milliseconds(uint64_t ns) { return static_cast<double>(ns) / 1e6; }

Json copy_view(const vmm::VmStatus::Copy& copy) {
    return {{"phase", copy.phase},
            {"round", copy.round},
            {"bytes_done", copy.bytes_done},
            {"bytes_of", copy.bytes_of},
            {"bytes_per_second", copy.bytes_per_second},
            {"seconds_left", copy.seconds_left ? Json(*copy.seconds_left) : Json(nullptr)},
            {"cut_ms", milliseconds(copy.cut_ns)},
            {"longest_pause_ms", milliseconds(copy.longest_pause_ns)},
            {"waited_ms", milliseconds(copy.waited_ns)}};
}

/// "a copy for a backup is made: round 2, 310 of 512 MiB, 540 MiB/s, 1 s left"
std::string copy_text(const Json& copy) {
    if (!copy.is_object() || copy.value("phase", std::string()).empty()) return "";
    auto mib = [&](const char* key) { return copy.value(key, 0.0) / (1 << 20); };
    std::string phase = copy.value("phase", std::string());
    if (phase == "coming")
        return fmt::format("  the copy of the guest is coming: {:.0f} MiB are here\n", mib("bytes_done"));
    std::string text = fmt::format("  a copy for a backup is made: {}", phase);
    if (phase == "round") text += fmt::format(" {}", copy.value("round", 0u));
    text += fmt::format(", {:.0f} of {:.0f} MiB, {:.0f} MiB/s", mib("bytes_done"), mib("bytes_of"),
                        mib("bytes_per_second"));
    if (copy["seconds_left"].is_number())
        text += fmt::format(", {:.0f} s left", copy["seconds_left"].get<double>());
    return text + "\n";
}

/// What the VM is made of.
void add_parts(Json& json, const vmm::VmStatus& status) {
    json["disks"] = json["networks"] = Json::array();
    if (!status.settings) return;
    const vmm::VmSettings& settings = *status.settings;
    json["memory_bytes"] = settings.memory_bytes;
    for (const vmm::DiskSettings& disk : settings.disks)
        json["disks"].push_back(
            {{"path", disk.path}, {"shared", disk.shared}, {"read_only", disk.read_only}});
    for (size_t i = 0; i < settings.networks.size(); ++i) {
        const vmm::NetworkSettings& network = settings.networks[i];
        std::string fault = i < status.link_faults.size() ? status.link_faults[i] : "";
        json["networks"].push_back({{"tap", network.tap},
                                    {"bridge", network.bridge},
                                    {"mac", host::mac_text(network.mac)},
                                    {"fault", fault}});
    }
}

/// Why the state is what it is, and what is amiss besides.
std::string why_of(const vmm::VmStatus& status) {
    std::string why = status.replica.why;
    for (const std::string& fault : status.link_faults)
        if (!fault.empty()) why += fmt::format("; the guest can't be reached here: {}", fault);
    return why;
}

/// "3 s", "5 min", "2 h": for people.
std::string duration_text(uint64_t ms) {
    uint64_t seconds = ms / 1000;
    if (ms < 1000) return fmt::format("{} ms", ms);
    if (seconds < 120) return fmt::format("{} s", seconds);
    if (seconds < 7200) return fmt::format("{} min", seconds / 60);
    return fmt::format("{} h", seconds / 3600);
}

std::string guest_text(const Json& guest) {
    constexpr uint64_t kBusyPermille = 50;
    if (!guest.is_object()) return "";
    uint64_t busy = guest.value("busy_permille", uint64_t{0});
    uint64_t resets = guest.value("resets", uint64_t{0}), panics = guest.value("panics", uint64_t{0});
    std::string text = fmt::format("  guest {}, {} % of a processor", busy >= kBusyPermille ? "busy" : "idle",
                                   (busy + 5) / 10);
    const Json& output = guest["last_output_ms"];
    text += output.is_number() ? fmt::format("; last output {} ago", duration_text(output.get<uint64_t>()))
                               : "; no output yet";
    if (resets) text += fmt::format("; {} reset{}", resets, resets == 1 ? "" : "s");
    if (panics)
        text += fmt::format("; {} kernel panic{}, the last {} ago: {}", panics, panics == 1 ? "" : "s",
                            duration_text(guest["last_panic_ms"].get<uint64_t>()),
                            guest["last_panic"].get<std::string>());
    return text + "\n";
}

std::string parts_text(const Json& status) {
    std::string text = fmt::format("  memory {} MiB\n", status.value("memory_bytes", uint64_t{0}) >> 20);
    for (const Json& disk : status.value("disks", Json::array()))
        text += fmt::format("  disk {}{}{}\n", disk["path"].get<std::string>(),
                            disk["shared"].get<bool>() ? ", shared" : "",
                            disk["read_only"].get<bool>() ? ", read only" : "");
    for (const Json& network : status.value("networks", Json::array())) {
        std::string bridge = network["bridge"].get<std::string>(),
                    fault = network["fault"].get<std::string>();
        text += fmt::format("  network {}{}, {}{}\n", network["tap"].get<std::string>(),
                            bridge.empty() ? "" : " of " + bridge, network["mac"].get<std::string>(),
                            fault.empty() ? "" : "; the guest can't be reached here: " + fault);
    }
    return text;
}

/// Some figures of the engine on each line, in the order of figures().
std::string engine_text(const Json& engine) {
    constexpr size_t kOnALine = 4;
    std::string lines;
    size_t shown = 0;
    for (const translate::Figure& figure : translate::figures({})) {
        auto found = engine.find(figure.name);
        if (found == engine.end()) continue;
        lines += shown++ % kOnALine == 0 ? fmt::format("{}  engine: ", shown == 1 ? "" : "\n") : ", ";
        lines += fmt::format("{} {}", figure.name, found->get<uint64_t>());
    }
    return lines.empty() ? lines : lines + "\n";
}

bool is_insecure(const vmm::VmStatus& status) {
    return status.security == vmm::Security::kInsecure && status.settings &&
           !status.settings->protection.hosts.empty();
}

}  // namespace

Json status_json(const vmm::VmStatus& status) {
    const replica::Status& replica = status.replica;
    Json json = {{"name", status.name},
                 {"role", role_of(status)},
                 {"state", status.started ? replica::name_of(replica.state) : "Starting"},
                 {"protected", status.started && replica.state == replica::State::kProtected},
                 {"why", why_of(status)},
                 {"no_backup_why", status.no_backup_why},
                 {"term", replica.term.value()},
                 {"peer", status.peer},
                 {"longest_silence_ms", replica.longest_silence_ms},
                 {"insecure", is_insecure(status)},
                 {"confined", status.confined},
                 {"lag_ms", replica.lag_ms},
                 {"lag_instructions", replica.lag_icount},
                 {"speed_permille", replica.speed_permille},
                 {"buffered_bytes", replica.buffered_bytes},
                 {"log_position", replica.appended.value()},
                 {"acknowledged_position", replica.acknowledged.value()},
                 {"replayed_position", replica.replayed.value()},
                 {"log_bits_per_second", status.log_bits_per_second},
                 {"log_bytes", status.log_bytes},
                 {"icount", status.icount},
                 {"state_hashes", status.checkpoints},
                 {"held_outputs", status.held_outputs},
                 {"careful", status.careful},
                 {"console", status.console},
                 {"recording", status.recording},
                 {"snapshot", status.snapshot},
                 {"uptime_ms", status.uptime_ms},
                 {"live_ms", status.live_ms}};
    json["ignored_datagrams"] = {{"forged", status.ignored_datagrams.forged},
                                 {"repeated", status.ignored_datagrams.repeated}};
    json["guest"] = guest_view(status.guest);
    json["copy"] = copy_view(status.copy);
    add_parts(json, status);
    json["output_wait"] = wait_view(status.waits.all);
    json["output_wait"]["beyond_link"] = wait_view(status.waits.beyond_link);
    json["output_wait"]["link_round_trip_us"] = microseconds(status.link_round_trip_ns);
    json["traffic"] = {{"packets_in", status.traffic.packets_in},
                       {"packets_out", status.traffic.packets_out},
                       {"disk_reads", status.traffic.disk_reads},
                       {"disk_writes", status.traffic.disk_writes},
                       {"disk_errors", status.traffic.disk_errors}};
    for (const translate::Figure& figure : translate::figures(status.engine))
        json["engine"][std::string(figure.name)] = figure.value;
    json["entries"] = Json::object();
    for (const vmm::VmStatus::Kind& kind : status.entries)
        json["entries"][kind.name] = {{"count", kind.entries}, {"bytes", kind.bytes}};
    return json;
}

namespace {

/// What an operator must know of the links to other hosts; empty: all is well.
std::string security_text(const Json& status) {
    std::string lines;
    if (std::string confined = status.value("confined", std::string());
        confined != "yes" && !confined.empty())
        lines += fmt::format("  confined: {}\n", confined);
    if (status.value("insecure", false))
        lines += "  INSECURE: whoever reaches the hosts' ports can read and change the guest (--insecure)\n";
    uint64_t forged = status.value("ignored_datagrams", Json::object()).value("forged", uint64_t{0});
    if (forged) lines += fmt::format("  {} forged heartbeats came, and were ignored\n", forged);
    return lines;
}

/// How it is protected, or why it isn't.
std::string protection_text(const Json& status) {
    auto text = [&](const char* key) { return status.value(key, std::string()); };
    auto number = [&](const char* key) { return status.value(key, uint64_t{0}); };
    std::string lines;
    bool is_protected = status.value("protected", false);
    if (text("role") == "backup")
        lines = fmt::format("  backup of {}\n", text("peer"));
    else if (text("role") == "waiting")
        lines = fmt::format("  nothing leaves here now: {}\n", text("why"));
    else if (is_protected)
        lines = fmt::format("  protected by {}\n", text("peer"));
    else
        lines = fmt::format("  not protected: {}\n", text("why"));
    if (!text("no_backup_why").empty()) lines += fmt::format("  {}\n", text("no_backup_why"));
    if (!is_protected) return lines;
    return lines + fmt::format("  execution lag {} ms; speed {} of 1000; log {}; {} outputs wait\n",
                               number("lag_ms"), number("speed_permille"),
                               bits_text(status.value("log_bits_per_second", 0.0)), number("held_outputs"));
}

std::string counters_text(const Json& status) {
    auto number = [&](const char* key) { return status.value(key, uint64_t{0}); };
    std::string lines = fmt::format("  {} instructions, {} log entries, {} state hashes\n", number("icount"),
                                    number("log_position"), number("state_hashes"));
    if (status.value("protected", false)) {
        lines += fmt::format("  nothing was heard of the other side for {} ms at most\n",
                             number("longest_silence_ms"));
        lines += fmt::format("  execution lag {} instructions; log {} bytes in all\n",
                             number("lag_instructions"), number("log_bytes"));
        lines += latency_text(status.value("output_wait", Json::object()));
    }
    return lines + engine_text(status.value("engine", Json::object()));
}

}  // namespace

std::string status_text(const Json& status, Counters counters) {
    auto text = [&](const char* key) { return status.value(key, std::string()); };
    std::string lines = fmt::format("VM {}: {} (state {}, term {})\n", text("name"), text("role"),
                                    text("state"), status.value("term", uint64_t{0}));
    lines += guest_text(status.value("guest", Json()));
    lines += protection_text(status);
    lines += copy_text(status.value("copy", Json()));
    lines += security_text(status);
    if (status.value("careful", false))
        lines += "  the engine does without its optimisations: a fault of its own has ended the primary\n";
    lines += parts_text(status);
    if (!text("console").empty()) lines += fmt::format("  console at {}\n", text("console"));
    if (!text("recording").empty()) lines += fmt::format("  recorded to {}\n", text("recording"));
    if (counters == Counters::kShown) lines += counters_text(status);
    return lines;
}

}  // namespace lockstep::control
