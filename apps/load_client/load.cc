// SPDX-License-Identifier: Apache-2.0
#include "load_client/load.h"

#include <fmt/format.h>

#include <cstdio>

namespace lockstep::load_client {

Load::Load(std::string name, const Target& target, uint16_t port, unsigned pause_us)
    : name_(std::move(name)), target_(target), port_(port), pause_us_(pause_us) {}

Load::~Load() = default;

void Load::start() {
    started_ = Clock::now();
    thread_ = std::thread([this] { run(); });
}

void Load::stop() {
    stopping_ = true;
    if (thread_.joinable()) thread_.join();
}

void Load::run() {
    constexpr auto kRetryPause = std::chrono::milliseconds(200);
    bool has_worked = false;
    while (!stopping_) {
        gaps_.asks();
        Result<Connection> connection = connect();
        if (!connection) {
            bool late = Clock::now() - started_ > std::chrono::seconds(target_.wait_seconds);
            if (has_worked || late) count_lost(connection.error().message());
            std::this_thread::sleep_for(kRetryPause);
            continue;
        }
        if (!has_worked) gaps_.start();
        has_worked = true;
        Result<void> worked = work(connection.value());
        if (!worked) count_lost(worked.error().message());
    }
    gaps_.pause();
    if (!has_worked) {
        count_lost("the service never answered");
        return;
    }
    Result<Connection> connection = connect();
    Result<void> verified = connection ? verify(connection.value()) : Result<void>(connection.error());
    if (!verified) count_lost(verified.error().message());
}

void Load::count_operation(uint64_t bytes) {
    operations_++;
    bytes_ += bytes;
}

void Load::count_wrong(uint64_t amount, const std::string& what) {
    wrong_ += amount;
    fmt::print(stderr, "load_client: {}: {}\n", name_, what);
}

void Load::count_lost(const std::string& why) {
    connections_lost_++;
    fmt::print(stderr, "load_client: {}: connection lost: {}\n", name_, why);
}

void Load::pace() {
    if (pause_us_ == 0) return;
    gaps_.pause();
    std::this_thread::sleep_for(std::chrono::microseconds(pause_us_));
    gaps_.start();
}

nlohmann::json Load::report() const {
    double seconds = std::chrono::duration<double>(Clock::now() - started_).count();
    return {{"operations", operations_.load()},
            {"operations_per_second", static_cast<double>(operations_) / seconds},
            {"bytes", bytes_.load()},
            {"bytes_per_second", static_cast<double>(bytes_) / seconds},
            {"connections_lost", connections_lost_.load()},
            {"wrong", wrong_.load()},
            {"gaps", gaps_.report()}};
}

}  // namespace lockstep::load_client
