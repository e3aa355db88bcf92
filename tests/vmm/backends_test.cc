// SPDX-License-Identifier: Apache-2.0
#include "vmm/backends.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "host/files.h"
#include "machine/machine.h"

namespace lockstep::vmm {
namespace {

using bus::DiskOperation;

bus::Output disk_request(uint64_t number, DiskOperation operation, uint64_t offset) {
    bus::DiskRequest request{
        .number = number, .operation = operation, .offset = offset, .size = 512, .data = Bytes(512, 7)};
    if (operation == DiskOperation::kRead) request.data.clear();
    return {machine::kFirstDisk, request};
}

TEST(Backends, TakeTheLastLookAtAWriteRightBeforeTheKernelGetsIt) {
    std::string path = fmt::format("{}/backends-{}.raw", testing::TempDir(), getpid());
    std::ofstream(path).close();
    std::filesystem::resize_file(path, 1 << 20);
    auto loop = host::EventLoop::create().take();
    VmSettings settings;
    settings.console.kind = ConsoleKind::kNone;
    settings.disks.push_back({});
    settings.disks.back().path = path;
    LogPos allowed(10);  // entries before it
    std::vector<LogPos> asked;
    unsigned answers = 0;
    host::OrphanFrames orphans(nullptr);
    auto backends = Backends::create(*loop, settings, {}, orphans,
                                     {.input = [&](const drive::Input&) { ++answers; },
                                      .escape = {},
                                      .may_write =
                                          [&](LogPos entry) {
                                              asked.push_back(entry);
                                              return entry < allowed;
                                          },
                                      .drained = {}})
                        .take();
    auto run = [&] {
        for (int i = 0; i < 20; ++i) loop->run_once(host::kNsPerMs);
    };
    auto byte_at = [&](size_t offset) { return host::read_file(path).value()[offset]; };

    backends->submit(disk_request(1, DiskOperation::kWrite, 0), LogPos(9));
    backends->submit(disk_request(2, DiskOperation::kWrite, 512), LogPos(8));
    backends->submit(disk_request(3, DiskOperation::kRead, 4096), LogPos(0));
    EXPECT_TRUE(asked.empty()) << "asked before the end of the loop's round";
    allowed = LogPos(9);
    run();
    EXPECT_EQ(answers, 1u) << "the read; the first write is kept, and the one behind it";
    EXPECT_EQ(asked.front(), LogPos(9));
    EXPECT_EQ(byte_at(0) + byte_at(512), 0);
    EXPECT_EQ(backends->in_flight(), 2u);

    allowed = LogPos(10);
    backends->issue_kept();
    run();
    EXPECT_EQ(answers, 3u);
    EXPECT_EQ(byte_at(0), 7);
    EXPECT_EQ(byte_at(512), 7);

    allowed = LogPos(0);
    backends->submit(disk_request(4, DiskOperation::kWrite, 1024), LogPos(11));
    run();
    backends->stop();
    run();
    EXPECT_EQ(backends->in_flight(), 0u) << "what this side may never write is dropped";
    EXPECT_EQ(byte_at(1024), 0);
    EXPECT_EQ(answers, 3u);
    std::filesystem::remove(path);
}

}  // namespace
}  // namespace lockstep::vmm
