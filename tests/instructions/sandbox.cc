// SPDX-License-Identifier: Apache-2.0
#include "sandbox.h"

#include <bit>
#include <cstring>

#include "base/check.h"
#include "random.h"

namespace lockstep::instructions {

namespace {

uint64_t cell(Random& random) {
    switch (random.below(6)) {
        case 0:
            return std::bit_cast<uint64_t>(static_cast<double>(random.between(-100000, 100000)) / 64);
        case 1: {
            uint64_t low = std::bit_cast<uint32_t>(static_cast<float>(random.between(-1000, 1000)) / 8);
            uint64_t high = std::bit_cast<uint32_t>(static_cast<float>(random.between(-1000, 1000)) / 8);
            return low | high << 32;
        }
        case 2:
            return kData + random.below(4 * kPageSize);
        case 3:
            return random.below(256);
        default:
            return random.next();
    }
}

Image make_base_image() {
    Image image;
    Random random(1);
    for (size_t at = 0; at < image.size(); at += 8) {
        uint64_t value = cell(random);
        std::memcpy(&image[at], &value, 8);
    }
    for (size_t page = 0; page < kSandbox.size(); ++page)
        if (kSandbox[page].executable) std::memset(&image[page * kPageSize], 0xcc, kPageSize);
    return image;
}

}  // namespace

const Image& base_image() {
    static const Image image = make_base_image();
    return image;
}

void apply_patches(const Case& test_case, Image& image) {
    image = base_image();
    for (const Patch& patch : test_case.patches)
        for (size_t i = 0; i < patch.bytes.size(); ++i) {
            std::optional<size_t> at = image_offset(patch.address + i);
            CHECK(at, "case {}: patch outside the sandbox at {:#x}", test_case.name, patch.address + i);
            image[*at] = patch.bytes[i];
        }
}

}  // namespace lockstep::instructions
