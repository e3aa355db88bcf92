// SPDX-License-Identifier: Apache-2.0
// A bzImage around a small program.
#pragma once

#include <cstring>

#include "base/bytes.h"

#define LOCKSTEP_SMALL_KERNEL(name)          \
    extern "C" const uint8_t small_##name[]; \
    extern "C" const uint8_t small_##name##_end[]

LOCKSTEP_SMALL_KERNEL(hello);
LOCKSTEP_SMALL_KERNEL(count);
LOCKSTEP_SMALL_KERNEL(halt);
LOCKSTEP_SMALL_KERNEL(triple);
LOCKSTEP_SMALL_KERNEL(reset);
LOCKSTEP_SMALL_KERNEL(timer);
LOCKSTEP_SMALL_KERNEL(stale);

#define SMALL_KERNEL(name) \
    (::lockstep::ByteSpan(small_##name, static_cast<size_t>(small_##name##_end - small_##name)))

namespace lockstep::machine {

inline constexpr uint64_t kTestKernelAddress = 0x1000000;
inline constexpr uint32_t kTestKernelSize = 0x400000;

/// Header fields that a test may want to spoil.
struct HeaderFields {
    uint16_t boot_flag = 0xaa55;
    uint32_t magic = 0x53726448;
    uint16_t protocol = 0x20f;
    uint16_t extended_flags = 1;
    uint32_t command_line_max = 2047;
    uint64_t preferred_address = kTestKernelAddress;
    uint32_t init_size = kTestKernelSize;
    uint32_t initrd_max = 0x7fffffff;
};

/// One setup sector after the boot sector; the program at the 64-bit entry point, 0x200 into the kernel
/// proper.
inline Bytes make_kernel(ByteSpan program, HeaderFields fields = {}) {
    Bytes image(0x400 + 0x200);
    auto put = [&image](size_t offset, auto value) { std::memcpy(&image[offset], &value, sizeof value); };
    put(0x1f1, uint8_t{1});
    put(0x1fe, fields.boot_flag);
    put(0x200, uint16_t{0x66eb});  // the jump whose length tells where the header ends
    put(0x202, fields.magic);
    put(0x206, fields.protocol);
    put(0x211, uint8_t{1});
    put(0x22c, fields.initrd_max);
    put(0x236, fields.extended_flags);
    put(0x238, fields.command_line_max);
    put(0x258, fields.preferred_address);
    put(0x260, fields.init_size);
    image.insert(image.end(), program.begin(), program.end());
    return image;
}

}  // namespace lockstep::machine
