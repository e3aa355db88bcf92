// SPDX-License-Identifier: Apache-2.0
// The rules themselves, on planted breaches: a rule that sees nothing would make the test of the tree
// worthless.
#include "rules.h"

#include <gtest/gtest.h>

namespace lockstep::layering {
namespace {

std::vector<std::string> wall(const std::string& line, const std::string& path = "src/devices/uart/uart.cc") {
    return wall_breaches({path, line + "\n"});
}

TEST(Rules, APlantedIncludeUpwardsIsSeen) {
    auto breaches =
        layer_breaches({"src/cpu/mmu.cc", "#include \"base/hash.h\"\n#include \"bus/device.h\"\n"});
    ASSERT_EQ(breaches.size(), 1u);
    EXPECT_EQ(breaches[0], "src/cpu/mmu.cc:2: cpu/ includes bus/, which it doesn't know; see kRooms");
    EXPECT_TRUE(
        layer_breaches({"src/bus/bus.cc", "#include \"record/entry.h\"\n#include <vector>\n"}).empty());
    EXPECT_TRUE(layer_breaches({"apps/main.cc", "#include \"control/actions.h\"\n"}).empty());
}

TEST(Rules, StrangersAndUnknownRoomsAreSeen) {
    EXPECT_EQ(layer_breaches({"src/replica/primary.cc", "#include \"machine/machine.h\"\n"}).size(), 1u);
    EXPECT_EQ(layer_breaches({"src/sim/world.cc", "#include \"host/clock.h\"\n"}).size(), 1u);
    EXPECT_EQ(layer_breaches({"src/utility/helpers.h", ""}).size(), 1u);
}

TEST(Rules, ALinkLineIsTheTables) {
    auto breaches = [](const std::string& line) {
        return link_breaches({"src/bus/CMakeLists.txt", line}).size();
    };
    EXPECT_EQ(breaches("lockstep_room(bus LINK lockstep_base lockstep_record zstd)"), 0u);
    EXPECT_EQ(breaches("lockstep_room(bus LINK lockstep_base)"), 1u) << "included, and not linked";
    EXPECT_EQ(breaches("lockstep_room(bus LINK lockstep_base lockstep_record\n lockstep_cpu)"), 1u)
        << "a stranger";
    EXPECT_EQ(breaches("add_library(bus)"), 1u);
}

TEST(Rules, BannedHeadersAreSeenButWhereTheyAreAllowed) {
    EXPECT_EQ(wall("#include <thread>").size(), 1u);
    EXPECT_EQ(wall("#include <sys/mman.h>").size(), 1u);
    EXPECT_TRUE(wall("#include <sys/mman.h>", "src/memory/guest_memory.cc").empty());
    EXPECT_TRUE(wall("#include <csignal>", "src/translate/faults.cc").empty());
    EXPECT_EQ(wall("#include <csignal>", "src/memory/guest_memory.cc").size(), 1u);
    EXPECT_TRUE(wall("#include <ctime>", "src/host/clock.cc").empty());
    EXPECT_EQ(wall("#include <ctime>", "src/sim/network.cc").size(), 1u);
    EXPECT_TRUE(wall("#include <vector>").empty());
}

TEST(Rules, BannedCallsAreSeen) {
    for (const char* line : {
             "auto now = std::chrono::steady_clock::now();",
             "clock_gettime(CLOCK_MONOTONIC, &now);",
             "    ::gettimeofday(&now, nullptr);",
             "uint64_t now = time(nullptr);",
             "uint64_t now = std::time(&seconds);",
             "uint64_t ticks = __rdtsc();",
             "int dice = rand() % 6;",
             "int dice = std::rand();",
             "std::random_device source;",
             "const char* home = getenv(name);",
             "std::thread worker(run);",
             "std::mutex mutex_;",
             "pthread_create(&thread, nullptr, run, nullptr);",
             "thread_local int depth;",
             "std::ifstream in(path);",
             "FILE* file = std::fopen(path, mode);",
             "int file = ::open(path, flags);",
             "int file = openat(folder, path, flags);",
             "int file = socket(AF_INET, SOCK_STREAM, 0);",
             "seed ^= getpid();",
         }) {
        EXPECT_EQ(wall(line).empty(), false) << line;
        EXPECT_TRUE(wall(line, "src/host/something.cc").empty()) << line;
    }
}

TEST(Rules, AFileForTheGuestsMemoryIsForMemoryAlone) {
    EXPECT_TRUE(wall("int file = openat(mount, name, flags);", "src/memory/huge_file.cc").empty());
    EXPECT_FALSE(wall("int file = ::open(path, flags);", "src/memory/huge_file.cc").empty());
}

TEST(Rules, ThreadsOfSignalsAreForTranslateAlone) {
    EXPECT_TRUE(wall("pthread_kill(thread_, number);", "src/translate/host_faults.cc").empty());
    EXPECT_FALSE(wall("pthread_kill(thread_, number);", "src/cpu/mmu.cc").empty());
    EXPECT_FALSE(
        wall("pthread_create(&thread_, nullptr, run, nullptr);", "src/translate/host_faults.cc").empty());
}

TEST(Rules, WhatOnlyLooksLikeABannedCallIsNot) {
    for (const char* line : {
             "uint64_t time(Icount now) const { return now.value(); }",
             "uint64_t now = clock.time(icount);",
             "VirtualClock& clock() { return clock_; }",
             "std::chrono::year_month_day day{std::chrono::sys_days{days}};",
             "disk.open(request);",
             "queue->socket(3);",
             "// std::thread is banned, and so is rand()",
             "/* getenv(\"HOME\") */",
             "std::string text = \"rand() and std::mutex\";",
             "std::string text = \"a \\\" rand() \";",
             "char quote = '\"'; int operand(int); operand(3);",
             "uint64_t big = 1'000'000; // getpid()",
             "Bus::read(at); memory::write(at);",
         }) {
        auto breaches = wall(line);
        EXPECT_TRUE(breaches.empty()) << line << ": " << breaches[0];
    }
    EXPECT_FALSE(wall("uint64_t big = 1'000; int dice = rand();").empty());
    EXPECT_FALSE(wall("char quote = '\"'; int dice = rand();").empty());
    EXPECT_FALSE(wall("/* a\n comment */ int dice = rand();").empty());
}

TEST(Rules, LongFilesMayOnlyShrink) {
    auto breaches = [](size_t lines, std::vector<LongFile> allowances) {
        return length_breaches({"src/cpu/long.cc", std::string(lines, '\n')}, allowances).size();
    };
    EXPECT_EQ(breaches(kMostLines, {}), 0u);
    EXPECT_EQ(breaches(kMostLines + 1, {}), 1u);
    EXPECT_EQ(breaches(800, {{"src/cpu/long.cc", 800}}), 0u);
    EXPECT_EQ(breaches(801, {{"src/cpu/long.cc", 800}}), 1u);
    EXPECT_EQ(breaches(799, {{"src/cpu/long.cc", 800}}), 1u);
    EXPECT_EQ(breaches(kMostLines, {{"src/cpu/long.cc", 800}}), 1u);
}

}  // namespace
}  // namespace lockstep::layering
