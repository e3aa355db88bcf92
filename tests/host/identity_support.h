// SPDX-License-Identifier: Apache-2.0
// Clusters in folders, for tests.
#pragma once

#include <ctime>

#include "host/authority_folder.h"
#include "host/files.h"
#include "support.h"

namespace lockstep::host {

inline constexpr uint64_t kToday = 1'800'000'000;

/// Now, by the date that OpenSSL looks at.
inline uint64_t date_now_s() { return static_cast<uint64_t>(::time(nullptr)); }

/// A cluster whose authority's folder is "authority"; other hosts have folders of their names.
class TestCluster {
  public:
    explicit TestCluster(const std::string& name = "host-a") {
        EXPECT_TRUE(begin_cluster(folder("authority"), name, {"127.0.0.1:1"}, date_now_s()).ok());
    }
    std::string folder(const std::string& host) const { return folder_ / host; }
    Identity identity(const std::string& host = "authority") const {
        auto loaded = load_identity(folder(host));
        EXPECT_TRUE(loaded.ok()) << (loaded.ok() ? "" : loaded.error().message());
        return loaded.take();
    }
    /// Makes a host a member whose certificate is good from .. until.
    Identity join(const std::string& host, Validity validity) const {
        Identity joined;
        joined.key = make_key().take();
        joined.authority = identity().authority;
        Authority authority{
            read_private_key(read_file(folder("authority") + "/authority.key").take(), "key").take(),
            identity().authority};
        joined.own = sign_host(authority, *joined.key, host, validity).take();
        EXPECT_TRUE(write_identity(folder(host), joined).ok());
        return joined;
    }
    Identity join(const std::string& host) const {
        uint64_t now = date_now_s();
        Identity joined = join(host, {now - 100, now + kSecondsPerDay});
        joined.own = issue_certificate(folder("authority"), *joined.key, host, now).take();
        EXPECT_TRUE(write_identity(folder(host), joined).ok());
        return joined;
    }

  private:
    TemporaryFolder folder_;
};

}  // namespace lockstep::host
