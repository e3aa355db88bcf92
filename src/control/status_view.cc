// The status of a VM, for programs and for people.
#include "control/actions.h"

namespace lockstep::control {

namespace {

std::string role_of(const vmm::VmStatus& status) {
    if (!status.started) return "starting";
    replica::State state = status.replica.state;
    if (replica::is_over(state)) return "stopped";
    if (replica::is_backup(state)) return "backup";
    return state == replica::State::kSolo ? "solo" : "primary";
}

std::string bits_text(double bits_per_second) {
    if (bits_per_second >= 1e6) return fmt::format("{:.2f} Mbit/s", bits_per_second / 1e6);
    return fmt::format("{:.1f} kbit/s", bits_per_second / 1e3);
}

double microseconds(uint64_t ns) { return static_cast<double>(ns) / 1e3; }

Json wait_view(const vmm::WaitMeter& waits) {
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

}  // namespace

Json status_json(const vmm::VmStatus& status) {
    const replica::Status& replica = status.replica;
    Json json = {{"name", status.name},
                 {"role", role_of(status)},
                 {"state", status.started ? replica::name_of(replica.state) : "Starting"},
                 {"protected", status.started && replica.state == replica::State::kProtected},
                 {"why", replica.why},
                 {"no_backup_why", status.no_backup_why},
                 {"term", replica.term.value()},
                 {"peer", status.peer},
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
                 {"console", status.console},
                 {"recording", status.recording},
                 {"uptime_ms", status.uptime_ms},
                 {"live_ms", status.live_ms}};
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

std::string status_text(const Json& status) {
    auto text = [&](const char* key) { return status.value(key, std::string()); };
    auto number = [&](const char* key) { return status.value(key, uint64_t{0}); };
    std::string lines = fmt::format("VM {}: {} (state {}, term {})\n", text("name"), text("role"),
                                    text("state"), number("term"));
    bool is_protected = status.value("protected", false);
    bool is_backup = text("role") == "backup";
    if (is_protected)
        lines += fmt::format("  protected by {}\n", text("peer"));
    else if (is_backup)
        lines += fmt::format("  backup of {}\n", text("peer"));
    else
        lines += fmt::format("  not protected: {}\n", text("why"));
    if (!text("no_backup_why").empty()) lines += fmt::format("  {}\n", text("no_backup_why"));
    if (is_protected) {
        lines += fmt::format("  execution lag {} ms, {} instructions; speed {} of 1000\n", number("lag_ms"),
                             number("lag_instructions"), number("speed_permille"));
        lines += fmt::format("  log {}, {} bytes in all; {} outputs wait\n",
                             bits_text(status.value("log_bits_per_second", 0.0)), number("log_bytes"),
                             number("held_outputs"));
        lines += latency_text(status.value("output_wait", Json::object()));
    }
    lines += fmt::format("  {} instructions, {} log entries, {} state hashes\n", number("icount"),
                         number("log_position"), number("state_hashes"));
    lines += engine_text(status.value("engine", Json::object()));
    if (!text("console").empty()) lines += fmt::format("  console at {}\n", text("console"));
    if (!text("recording").empty()) lines += fmt::format("  recorded to {}\n", text("recording"));
    return lines;
}

}  // namespace lockstep::control
