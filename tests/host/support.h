// SPDX-License-Identifier: Apache-2.0
// What the host's tests share.
#pragma once

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <filesystem>
#include <functional>
#include <string>

#include "base/bytes.h"
#include "host/event_loop.h"
#include "host/random.h"

namespace lockstep::host {

/// A folder that lives as long as the test.
class TemporaryFolder {
  public:
    TemporaryFolder()
        : path_((std::filesystem::temp_directory_path() / ("lockstep-test-" + random_name())).string()) {
        std::filesystem::create_directory(path_);
    }
    ~TemporaryFolder() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    TemporaryFolder(const TemporaryFolder&) = delete;
    TemporaryFolder& operator=(const TemporaryFolder&) = delete;

    const std::string& path() const { return path_; }
    std::string operator/(const std::string& name) const { return path_ + "/" + name; }

  private:
    std::string path_;
};

inline std::unique_ptr<EventLoop> make_loop() {
    auto loop = EventLoop::create();
    EXPECT_TRUE(loop.ok());
    return loop.take();
}

/// Runs the loop until `done` holds; false where it doesn't within 10 seconds.
inline bool run_until(EventLoop& loop, const std::function<bool()>& done,
                      uint64_t timeout_ns = 10 * kNsPerSecond) {
    uint64_t end = loop.now_ns() + timeout_ns;
    while (!done()) {
        uint64_t now = loop.now_ns();
        if (now >= end) return false;
        loop.run_once(end - now);
    }
    return true;
}

/// Runs the loop for a time.
inline void run_for(EventLoop& loop, uint64_t ns) {
    run_until(
        loop, [] { return false; }, ns);
}

inline Bytes to_bytes(std::string_view text) { return Bytes(text.begin(), text.end()); }
inline std::string to_text(ByteSpan bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// Processor time that this process has used.
inline uint64_t cpu_time_ns() {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    auto ns = [](const timeval& t) {
        return static_cast<uint64_t>(t.tv_sec) * kNsPerSecond + static_cast<uint64_t>(t.tv_usec) * 1000;
    };
    return ns(usage.ru_utime) + ns(usage.ru_stime);
}

/// Fails unless `text` holds `part`.
inline void expect_contains(const std::string& text, const std::string& part) {
    EXPECT_NE(text.find(part), std::string::npos) << "'" << part << "' is missing in: " << text;
}

}  // namespace lockstep::host
