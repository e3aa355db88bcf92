// SPDX-License-Identifier: Apache-2.0
#include "api/host_view.h"

#include <unistd.h>

#include "host/limits.h"

namespace lockstep::api {

namespace {

std::string text_in(const Json& object, const char* key) {
    auto found = object.find(key);
    return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

}  // namespace

Json hosts_view(const HostFacts& host, const std::vector<Json>& states) {
    Json here = Json::array();
    std::map<std::string, Json> others;
    for (const Json& state : states) {
        std::string name = text_in(state, "name"), role = text_in(state, "role"),
                    peer = text_in(state, "peer");
        here.push_back({{"name", name}, {"role", role}});
        if (peer.empty()) continue;
        Json& vms = others.try_emplace(peer, Json::array()).first->second;
        vms.push_back({{"name", name}, {"role", role == "backup" ? "owner" : "backup"}});
    }
    Json hosts = Json::array();
    hosts.push_back({{"name", host.name},
                     {"here", true},
                     {"vms", here},
                     {"certificate_until", host.certificate_until},
                     {"insecure", host.insecure},
                     {"processors", ::sysconf(_SC_NPROCESSORS_ONLN)},
                     {"memory_available_bytes", host::available_memory()}});
    for (const auto& [address, vms] : others)
        hosts.push_back({{"name", address},
                         {"here", false},
                         {"vms", vms},
                         {"certificate_until", ""},
                         {"insecure", host.insecure},
                         {"processors", 0},
                         {"memory_available_bytes", 0}});
    return hosts;
}

Json tasks_view(const std::vector<Json>& states) {
    Json tasks = Json::array();
    for (const Json& state : states) {
        auto copy = state.find("copy");
        if (copy == state.end() || !copy->is_object() || text_in(*copy, "phase").empty()) continue;
        Json task = {
            {"id", text_in(state, "name") + "-copy"}, {"vm", text_in(state, "name")}, {"kind", "copy"}};
        for (const char* key : {"phase", "bytes_done", "bytes_of", "bytes_per_second", "seconds_left"})
            task[key] = copy->value(key, Json());
        tasks.push_back(task);
    }
    return tasks;
}

}  // namespace lockstep::api
