// SPDX-License-Identifier: Apache-2.0
#include "vmm/host_list.h"

#include <gtest/gtest.h>

namespace lockstep::vmm {
namespace {

using Hosts = std::vector<std::string>;

const Hosts kPair = {"127.0.0.1:7700", "203.0.113.1:7700"};

TEST(HostList, TheOwnersHostIsFoundByItsAddress) {
    EXPECT_EQ(hosts_beside_owner(kPair, "").value(), Hosts{"203.0.113.1:7700"});
    EXPECT_EQ(hosts_beside_owner({}, "").value(), Hosts{});
    EXPECT_EQ(hosts_beside_owner({"127.0.0.1:7700"}, "").value(), Hosts{}) << "alone for now";
}

TEST(HostList, TheOwnersHostIsNamed) {
    EXPECT_EQ(hosts_beside_owner(kPair, "203.0.113.1:7700").value(), Hosts{"127.0.0.1:7700"});
    EXPECT_EQ(hosts_beside_owner({"localhost:7700", "203.0.113.1:7700"}, "127.0.0.1:7700").value(),
              Hosts{"203.0.113.1:7700"})
        << "by another name";
}

TEST(HostList, AnOwnerThatIsNotAmongThemIsRefused) {
    for (const auto& [hosts, here] : std::vector<std::pair<Hosts, std::string>>{
             {kPair, "127.0.0.1:7701"},
             {{"203.0.113.1:1", "203.0.113.2:1"}, ""},
             {{"127.0.0.1:1", "127.0.0.1:2"}, ""},
         }) {
        auto others = hosts_beside_owner(hosts, here);
        ASSERT_FALSE(others.ok());
        EXPECT_NE(others.error().message().find("--host"), std::string::npos) << others.error().message();
    }
}

TEST(HostList, ABackupIsFoundByWhatItsDaemonListensAt) {
    EXPECT_EQ(hosts_beside_backup(kPair, "127.0.0.1:7700"), Hosts{"203.0.113.1:7700"});
    EXPECT_EQ(hosts_beside_backup(kPair, "0.0.0.0:7700"), Hosts{"203.0.113.1:7700"}) << "at any address";
    EXPECT_EQ(hosts_beside_backup(kPair, "127.0.0.1:7701"), kPair) << "known to the owner by another address";
}

}  // namespace
}  // namespace lockstep::vmm
