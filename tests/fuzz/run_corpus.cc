// SPDX-License-Identifier: Apache-2.0
// Runs a fuzz target over files, where libFuzzer doesn't drive it: the kept corpus as a test.
//
//     fuzz_message tests/fuzz/corpus/message [FILE ...]
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

#include "target.h"

namespace {

std::vector<std::filesystem::path> files_in(const std::filesystem::path& path) {
    if (!std::filesystem::is_directory(path)) return {path};
    std::vector<std::filesystem::path> files;
    for (const auto& entry : std::filesystem::directory_iterator(path)) files.push_back(entry.path());
    std::ranges::sort(files);
    return files;
}

}  // namespace

int main(int count, char** arguments) {
    size_t inputs = 0;
    for (int i = 1; i < count; ++i)
        for (const std::filesystem::path& path : files_in(arguments[i])) {
            std::ifstream file(path, std::ios::binary);
            std::vector<char> content{std::istreambuf_iterator<char>(file), {}};
            std::printf("%s\n", path.c_str());
            std::fflush(stdout);  // the last line names the input that crashed
            LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(content.data()), content.size());
            ++inputs;
        }
    std::printf("%zu inputs\n", inputs);
    return inputs > 0 ? 0 : 1;
}
