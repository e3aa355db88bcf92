// SPDX-License-Identifier: Apache-2.0
#include "vmm/output_gate.h"

#include <gtest/gtest.h>

namespace lockstep::vmm {
namespace {

using bus::Output;
using bus::OutputKind;
using devices::virtio::DiskOperation;
using devices::virtio::DiskRequest;

Output disk(DiskOperation operation, uint64_t offset) {
    DiskRequest request{.number = 1, .operation = operation, .offset = offset, .size = 0, .data = {}};
    if (operation != DiskOperation::kFlush) request.size = 512;
    if (operation == DiskOperation::kWrite) request.data.resize(512);
    return {OutputKind::kDiskRequest, 3, record::encode_fields(request)};
}

TEST(OutputGate, OnlyWritesToADiskChangeAnythingOutside) {
    EXPECT_TRUE(changes_outside(disk(DiskOperation::kWrite, 0)));
    EXPECT_FALSE(changes_outside(disk(DiskOperation::kRead, 0)));
    EXPECT_FALSE(changes_outside(disk(DiskOperation::kFlush, 0)));
    EXPECT_TRUE(changes_outside({OutputKind::kPackets, 5, {}}));
    EXPECT_TRUE(changes_outside({OutputKind::kConsoleBytes, 1, {}}));
    EXPECT_FALSE(changes_outside({OutputKind::kRandomRequest, 6, {}}));
}

TEST(OutputGate, KnowsTheReadsOfADisk) {
    EXPECT_TRUE(is_disk_read(disk(DiskOperation::kRead, 0)));
    EXPECT_FALSE(is_disk_read(disk(DiskOperation::kWrite, 0)));
    EXPECT_FALSE(is_disk_read(disk(DiskOperation::kFlush, 0)));
    EXPECT_FALSE(is_disk_read({OutputKind::kPackets, 5, {}}));
}

}  // namespace
}  // namespace lockstep::vmm
