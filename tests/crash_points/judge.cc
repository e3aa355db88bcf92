// SPDX-License-Identifier: Apache-2.0
#include "judge.h"

#include <fmt/format.h>

#include <algorithm>

namespace lockstep::crash_points {

namespace {

constexpr Micros kSecond = 1000 * kMillisecond;
/// Loads of the load client, each of which must have gone on.
constexpr uint64_t kLoads = 3;

}  // namespace

bool Judge::dies() {
    world_.random().seed(death_.seed * 1'000'003 + death_.entry);
    uint64_t lost = 0;
    if (death_.way == Death::Way::kEdge) {
        auto acknowledged = [this] { return scene_.owner().session().replica()->status(0).acknowledged; };
        if (!scene_.wait("the entry's acknowledgement", kSecond,
                         [&] { return acknowledged() > LogPos(death_.entry); }))
            return false;
        tally_.at_edge += !world_.left().empty() && world_.left().back().entry == LogPos(death_.entry);
    } else {
        lost = world_.random()() % (world_.messages_under_way() + 1);
    }
    world_.kill(scene_.owner(), lost);
    return well();
}

bool Judge::goes_live() {
    return scene_.wait("the backup's going live", 5 * kSecond,
                       [this] { return scene_.backup().session().is_live(); });
}

/// At the very moment at which the backup goes live: what it makes from now on comes too late.
bool Judge::agrees_with_what_left() {
    const Guest& dead = scene_.owner().guest();
    const Guest& live = scene_.backup().guest();
    tally_.hashes += live.checkpoints();
    if (live.made().empty()) return well();
    uint64_t first = live.made().front().number;
    auto made = dead.made().begin();
    for (const Left& left : world_.left()) {
        made = std::find_if(made, dead.made().end(),
                            [&](const Guest::Made& one) { return one.entry == left.entry; });
        if (made == dead.made().end()) break;
        if (made->number >= live.outputs()) {
            world_.fail(
                fmt::format("output {} (entry {}) was let out, and the continuation, which goes on behind {} "
                            "outputs, has never made it",
                            made->number, left.entry.value(), live.outputs()));
            break;
        }
        if (made->number < first) continue;
        ++tally_.outputs;
        if (live.made().at(made->number - first).contents == made->contents) continue;
        world_.fail(fmt::format(
            "output {} (entry {}) was let out, and the continuation has made another in its place",
            made->number, left.entry.value()));
        break;
    }
    return well();
}

bool Judge::work_goes_on() {
    tally_.issued_again += scene_.backup().guest().machine()->unanswered().size();
    scene_.end_load();
    if (!scene_.wait("the load's end", 60 * kSecond, [this] { return scene_.load_has_ended(); }))
        return false;
    const std::string& console = world_.console(scene_.client());
    if (*scene_.load_status() != 0)
        world_.fail(fmt::format("the load client ends with {}: {}", *scene_.load_status(),
                                console.substr(console.find("/run/load_client"))));
    uint64_t loads = 0;
    const std::string key = "\"operations\":";
    for (size_t at = 0; (at = console.find(key, at)) != std::string::npos; at += key.size()) {
        uint64_t operations = std::strtoull(console.c_str() + at + key.size(), nullptr, 10);
        loads += operations != 0;
        tally_.operations += operations;
    }
    if (loads != kLoads) world_.fail(fmt::format("{} of {} loads have done anything", loads, kLoads));
    return well();
}

/// It holds what the guest has written, in its order; nothing is lost, and nothing is there that it hasn't.
bool Judge::disk_is_right() {
    Side& live = scene_.backup();
    if (!scene_.wait("a quiet disk", 20 * kSecond, [&] { return live.quiet(); })) return false;
    Disk::Sectors expected = scene_.written_before();
    for (const bus::DiskRequest& request : live.guest().writes())
        for (uint64_t done = 0; done < request.size; done += Disk::kSector)
            std::copy_n(request.data.begin() + static_cast<ptrdiff_t>(done), Disk::kSector,
                        expected[(request.offset + done) / Disk::kSector].begin());
    tally_.writes += live.guest().writes().size();
    for (const auto& [number, sector] : scene_.disk().written()) {
        auto wanted = expected.find(number);
        if (wanted != expected.end() && wanted->second == sector) continue;
        world_.fail(fmt::format("sector {} holds what the guest hasn't written{}", number,
                                wanted == expected.end() ? "" : " last"));
        return false;
    }
    for (const auto& [number, sector] : expected)
        if (!scene_.disk().written().contains(number))
            world_.fail(fmt::format("sector {} lacks what the guest has written", number));
    for (const char* fault : {"EXT4-fs error", "I/O error", "Call Trace", "BUG:"})
        if (world_.console(live).find(fault) != std::string::npos)
            world_.fail(fmt::format("the guest's kernel says \"{}\"", fault));
    return well();
}

}  // namespace lockstep::crash_points
