// SPDX-License-Identifier: Apache-2.0
// The tree keeps its shape: layers, the wall around everything below host/, and the length of files.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "rules.h"

namespace lockstep::layering {
namespace {

namespace fs = std::filesystem;

const std::vector<SourceFile>& tree() {
    static const std::vector<SourceFile> files = [] {
        const std::set<std::string> extensions = {".h", ".cc", ".c", ".S", ".inc", ".py"};
        const fs::path root = LOCKSTEP_SOURCE_FOLDER;
        std::vector<SourceFile> found;
        for (const char* folder : {"src", "apps", "tests", "bench", "tools"}) {
            if (!fs::exists(root / folder)) continue;
            for (const auto& entry : fs::recursive_directory_iterator(root / folder)) {
                if (!entry.is_regular_file()) continue;
                if (!extensions.contains(entry.path().extension().string()) &&
                    entry.path().filename() != "CMakeLists.txt")
                    continue;
                std::stringstream text;
                text << std::ifstream(entry.path()).rdbuf();
                found.push_back({fs::relative(entry.path(), root).string(), text.str()});
            }
        }
        std::ranges::sort(found, {}, &SourceFile::path);
        return found;
    }();
    return files;
}

TEST(Layering, TheTreeIsThere) {
    auto is_there = [](std::string_view path) {
        return std::ranges::count(tree(), path, &SourceFile::path) == 1;
    };
    EXPECT_TRUE(is_there("src/base/check.cc"));
    EXPECT_TRUE(is_there("src/record/entry.h"));
    EXPECT_TRUE(is_there("tests/layering/rules.cc"));
}

TEST(Layering, ARoomIncludesOnlyRoomsThatItKnows) {
    for (const SourceFile& file : tree()) {
        for (const std::string& breach : layer_breaches(file)) ADD_FAILURE() << breach;
    }
}

TEST(Layering, ARoomLinksExactlyTheRoomsThatItKnows) {
    for (const SourceFile& file : tree()) {
        for (const std::string& breach : link_breaches(file)) ADD_FAILURE() << breach;
    }
    for (const Room& room : kRooms)
        EXPECT_EQ(
            std::ranges::count(tree(), fmt::format("src/{}/CMakeLists.txt", room.name), &SourceFile::path),
            1);
}

TEST(Layering, NothingBelowHostObservesTheHost) {
    for (const SourceFile& file : tree()) {
        for (const std::string& breach : wall_breaches(file)) ADD_FAILURE() << breach;
    }
}

TEST(Layering, FilesAreShort) {
    for (const SourceFile& file : tree()) {
        for (const std::string& breach : length_breaches(file, long_files())) ADD_FAILURE() << breach;
    }
    for (const LongFile& allowance : long_files()) {
        EXPECT_EQ(std::ranges::count(tree(), allowance.path, &SourceFile::path), 1)
            << allowance.path << " is gone; strike it from long_files()";
    }
}

}  // namespace
}  // namespace lockstep::layering
