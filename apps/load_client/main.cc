// SPDX-License-Identifier: Apache-2.0
// load_client: works against a guest from outside, remembers what the guest has acknowledged, and tells what
// was lost and how long the guest was silent.
//
// Commands on standard input, one a line: "mark" (the gaps "since the mark" begin anew), "report" (one line
// of JSON now), "end". SIGUSR1 is a report, SIGTERM and SIGINT are an end. The last line of the output is the
// final report, after all acknowledged writes have been read back; the exit status is 0 only if nothing was
// lost.
#include <fmt/format.h>
#include <poll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <vector>

#include "load_client/echo_load.h"
#include "load_client/http_load.h"
#include "load_client/redis_load.h"

namespace lockstep::load_client {
namespace {

struct Options {
    Target target;
    unsigned seconds = 0;
    unsigned echo_pause_us = 1000;
    unsigned redis_pause_us = 1000;
    unsigned http_pause_us = 20000;
    uint64_t redis_keys = 20000;
    std::string http_file = "1m";
    double long_gap_ms = 50;
    uint16_t echo_port = 7000;
    uint16_t redis_port = 6379;
    uint16_t http_port = 80;
    std::vector<std::string> loads{"echo", "redis", "http"};
};

using Loads = std::vector<std::unique_ptr<Load>>;

Loads make_loads(const Options& options) {
    WebFile file = options.http_file == "64m" ? WebFile{"/64m", 64, 64u << 20} : WebFile{"/1m", 1, 1u << 20};
    Loads loads;
    const Target& target = options.target;
    for (const std::string& name : options.loads) {
        if (name == "echo")
            loads.push_back(std::make_unique<EchoLoad>(target, options.echo_port, options.echo_pause_us));
        else if (name == "redis")
            loads.push_back(std::make_unique<RedisLoad>(target, options.redis_port, options.redis_pause_us,
                                                        options.redis_keys));
        else
            loads.push_back(
                std::make_unique<HttpLoad>(target, options.http_port, options.http_pause_us, file));
    }
    return loads;
}

struct Total {
    uint64_t connections_lost = 0;
    uint64_t answers_wrong = 0;
    uint64_t acknowledged_writes_lost = 0;
    uint64_t bytes_wrong = 0;
    double longest_ms = 0;
    double longest_since_mark_ms = 0;

    bool nothing_lost() const {
        return connections_lost + answers_wrong + acknowledged_writes_lost + bytes_wrong == 0;
    }
};

Total total_of(const Loads& loads) {
    Total total;
    for (const auto& load : loads) {
        total.connections_lost += load->connections_lost();
        total.longest_ms = std::max(total.longest_ms, load->gaps().longest_ms());
        total.longest_since_mark_ms =
            std::max(total.longest_since_mark_ms, load->gaps().longest_since_mark_ms());
        if (load->name() == "echo") total.answers_wrong = load->wrong();
        if (load->name() == "redis") total.acknowledged_writes_lost = load->wrong();
        if (load->name() == "http") total.bytes_wrong = load->wrong();
    }
    return total;
}

void print_report(const Loads& loads, bool final) {
    Total total = total_of(loads);
    nlohmann::json report{{"final", final},
                          {"now_s", std::chrono::duration<double>(Clock::now().time_since_epoch()).count()},
                          {"longest_gap_ms", total.longest_ms},
                          {"longest_gap_since_mark_ms", total.longest_since_mark_ms},
                          {"connections_lost", total.connections_lost},
                          {"answers_wrong", total.answers_wrong},
                          {"acknowledged_writes_lost", total.acknowledged_writes_lost},
                          {"bytes_wrong", total.bytes_wrong}};
    for (const auto& load : loads) report[load->name()] = load->report();
    fmt::print("{}\n", report.dump());
    std::fflush(stdout);
}

/// Carries out the whole lines of `pending`; false when one of them ends the work.
bool obey(std::string& pending, Loads& loads) {
    for (size_t end; (end = pending.find('\n')) != std::string::npos; pending.erase(0, end + 1)) {
        std::string line = pending.substr(0, end);
        if (line == "end") return false;
        if (line == "report")
            print_report(loads, false);
        else if (line == "mark")
            for (auto& load : loads) load->gaps().mark();
        else
            fmt::print(stderr, "load_client: '{}' is none of mark, report, end\n", line);
    }
    return true;
}

/// Waits for commands and signals until one of them, or the time, ends the work.
void attend(const Options& options, int signals, Loads& loads) {
    Clock::time_point deadline = Clock::now() + std::chrono::seconds(options.seconds);
    pollfd sources[2] = {{STDIN_FILENO, POLLIN, 0}, {signals, POLLIN, 0}};
    std::string pending;
    for (;;) {
        int timeout = -1;
        if (options.seconds > 0) {
            auto left =
                std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
            if (left <= 0) return;
            timeout = static_cast<int>(left) + 1;
        }
        poll(sources, 2, timeout);
        if (sources[1].revents != 0) {
            signalfd_siginfo signal{};
            if (read(signals, &signal, sizeof signal) != sizeof signal || signal.ssi_signo != SIGUSR1) return;
            print_report(loads, false);
        }
        if (sources[0].revents != 0) {
            char bytes[512];
            ssize_t size = read(STDIN_FILENO, bytes, sizeof bytes);
            if (size <= 0) sources[0].fd = -1;
            if (size > 0) pending.append(bytes, static_cast<size_t>(size));
            if (!obey(pending, loads)) return;
        }
    }
}

int run(const Options& options) {
    sigset_t watched;
    sigemptyset(&watched);
    for (int signal : {SIGUSR1, SIGTERM, SIGINT}) sigaddset(&watched, signal);
    pthread_sigmask(SIG_BLOCK, &watched, nullptr);
    int signals = signalfd(-1, &watched, SFD_CLOEXEC);

    Loads loads = make_loads(options);
    for (auto& load : loads) {
        load->gaps().keep_from(options.long_gap_ms);
        load->start();
    }
    attend(options, signals, loads);
    for (auto& load : loads) load->stop();
    print_report(loads, true);
    close(signals);
    return total_of(loads).nothing_lost() ? 0 : 1;
}

}  // namespace
}  // namespace lockstep::load_client

int main(int argc, char** argv) {
    lockstep::load_client::Options options;
    CLI::App app("Works against a guest from outside and tells what was lost.", "load_client");
    app.add_option("host", options.target.host, "the guest's IPv4 address")->required();
    app.add_option("--seconds", options.seconds, "ends after so long; 0: when told to")
        ->capture_default_str();
    app.add_option("--long-gap", options.long_gap_ms, "gaps of so many ms are told one by one")
        ->capture_default_str();
    app.add_option("--loads", options.loads, "which of echo, redis, http")
        ->delimiter(',')
        ->check(CLI::IsMember({"echo", "redis", "http"}))
        ->capture_default_str();
    app.add_option("--stall-seconds", options.target.stall_seconds,
                   "silence that counts as a lost connection")
        ->capture_default_str();
    app.add_option("--wait-seconds", options.target.wait_seconds,
                   "how long a service may take to answer first")
        ->capture_default_str();
    app.add_option("--echo-pause", options.echo_pause_us, "µs between requests")->capture_default_str();
    app.add_option("--redis-pause", options.redis_pause_us, "µs between writes")->capture_default_str();
    app.add_option("--redis-keys", options.redis_keys, "number of keys written to")->capture_default_str();
    app.add_option("--http-pause", options.http_pause_us, "µs between downloads")->capture_default_str();
    app.add_option("--http-file", options.http_file, "file to download")
        ->check(CLI::IsMember({"1m", "64m"}))
        ->capture_default_str();
    app.add_option("--echo-port", options.echo_port, "port of the echo service")->capture_default_str();
    app.add_option("--redis-port", options.redis_port, "port of Redis")->capture_default_str();
    app.add_option("--http-port", options.http_port, "port of the web server")->capture_default_str();
    CLI11_PARSE(app, argc, argv);
    return lockstep::load_client::run(options);
}
