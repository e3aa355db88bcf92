// SPDX-License-Identifier: Apache-2.0
#include "vmm/console_watch.h"

#include <gtest/gtest.h>

namespace lockstep::vmm {
namespace {

void print(ConsoleWatch& watch, std::string_view text, uint16_t device = 0, uint64_t now_ns = 5) {
    watch.printed(device, {reinterpret_cast<const uint8_t*>(text.data()), text.size()}, now_ns);
}

TEST(ConsoleWatch, APanicIsCountedOnceThoughTheKernelSaysItTwice) {
    ConsoleWatch watch;
    print(watch, "[    2.1] VFS: Cannot open root device\r\n[    2.2] Kernel pa");
    EXPECT_EQ(watch.panics(), 0u);
    print(watch, "nic - not syncing: VFS: Unable to mount root fs\r\n[    2.3] CPU: 0\r\n", 0, 7);
    print(watch, "[    2.4] ---[ end Kernel panic - not syncing: VFS: Unable to mount root fs ]---\r\n", 0,
          9);
    EXPECT_EQ(watch.panics(), 1u);
    EXPECT_EQ(watch.last_panic(), "Kernel panic - not syncing: VFS: Unable to mount root fs");
    EXPECT_EQ(watch.last_panic_ns(), 7u);
    print(watch, "Kernel panic - not syncing: again\n", 0, 11);
    EXPECT_EQ(watch.panics(), 2u);
}

TEST(ConsoleWatch, PortsAreReadApartAndLongLinesAreCut) {
    ConsoleWatch watch;
    print(watch, "Kernel panic", 1);
    print(watch, " - not syncing\n", 2);
    EXPECT_EQ(watch.panics(), 0u);
    print(watch, std::string(1 << 20, 'x'), 2);
    print(watch, "Kernel panic - not syncing: beyond the part that is read\n", 2);
    EXPECT_EQ(watch.panics(), 0u);
    print(watch, "Kernel panic - not syncing: \x1b[31mred\n", 2);
    EXPECT_EQ(watch.last_panic(), "Kernel panic - not syncing: [31mred");
}

}  // namespace
}  // namespace lockstep::vmm
