// SPDX-License-Identifier: Apache-2.0
// A file system that is full, in a mount namespace of this process's own.
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <fstream>

#include "host/arbiter.h"
#include "host/disk_image.h"
#include "host/files.h"
#include "host/log_file.h"
#include "support.h"

namespace lockstep::host {
namespace {

class FullDiskTest : public testing::Test {
  protected:
    void SetUp() override {
        bool made = geteuid() == 0 && unshare(CLONE_NEWNS) == 0 &&
                    mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
                    mount("tmpfs", folder_.path().c_str(), "tmpfs", 0, "size=1m") == 0;
        if (!made) GTEST_SKIP() << "needs the right to mount (root)";
        mounted_ = true;
    }
    void TearDown() override {
        if (mounted_) umount2(folder_.path().c_str(), MNT_DETACH);
    }
    void fill() {
        std::ofstream file(folder_ / "filler");
        std::string block(4096, 'x');
        while (file.write(block.data(), static_cast<std::streamsize>(block.size())).flush()) {
        }
    }

    TemporaryFolder folder_;
    bool mounted_ = false;
};

TEST_F(FullDiskTest, TheGuestGetsNoSpaceAndReadsGoOn) {
    auto loop = make_loop();
    std::ofstream(folder_ / "disk.raw").close();
    std::filesystem::resize_file(folder_ / "disk.raw", 8 << 20);  // sparse: larger than what is there
    auto image = DiskImage::create(*loop, {.path = folder_ / "disk.raw"});
    ASSERT_TRUE(image.ok()) << image.error().message();
    int ok = 0, full = 0, other = 0;
    for (uint64_t i = 0; i < 64; i++) {
        image.value()->submit({.action = DiskAction::kWrite,
                               .offset = i * 65536,
                               .size = 0,
                               .data = Bytes(65536, 1),
                               .done = [&](DiskStatus status, const Bytes&) {
                                   ok += status == DiskStatus::kOk;
                                   full += status == DiskStatus::kNoSpace;
                                   other += status != DiskStatus::kOk && status != DiskStatus::kNoSpace;
                               }});
    }
    EXPECT_TRUE(run_until(*loop, [&] { return ok + full + other == 64; }));
    EXPECT_GT(ok, 8);
    EXPECT_GT(full, 40);
    EXPECT_EQ(other, 0);
    bool read = false;
    image.value()->submit({.action = DiskAction::kRead,
                           .offset = 0,
                           .size = 512,
                           .data = {},
                           .done = [&](DiskStatus status, const Bytes& data) {
                               EXPECT_EQ(status, DiskStatus::kOk);
                               EXPECT_EQ(data, Bytes(512, 1));
                               read = true;
                           }});
    EXPECT_TRUE(run_until(*loop, [&] { return read; }));
}

TEST_F(FullDiskTest, ARecordingEndsWithASentence) {
    std::string sentence;
    auto writer = LogFileWriter::create({.path = folder_ / "log", .buffer_bytes = 1 << 18},
                                        [&](const Error& e) { sentence = e.message(); });
    for (int i = 0; i < 400; i++) writer.value()->append(Bytes(8192, 2));
    EXPECT_FALSE(writer.value()->close().ok());
    expect_contains(sentence, folder_ / "log");
    expect_contains(sentence, "free some space");
}

TEST_F(FullDiskTest, AnOldFileSurvivesAFailedWrite) {
    ASSERT_TRUE(write_file_atomically(folder_ / "state", to_bytes("old")).ok());
    fill();
    EXPECT_FALSE(write_file_atomically(folder_ / "state", Bytes(100'000)).ok());
    EXPECT_EQ(read_text(folder_ / "state").value(), "old");
}

TEST_F(FullDiskTest, TheArbiterIsUnreachable) {
    fill();
    ClaimAnswer answer = claim_in_folder(folder_.path(), "web", Term(1), "a");
    EXPECT_EQ(answer.verdict, Verdict::kUnreachable);
    expect_contains(answer.detail, "free some space");
    std::filesystem::remove(folder_ / "filler");
    EXPECT_EQ(claim_in_folder(folder_.path(), "web", Term(1), "b").verdict, Verdict::kWon)
        << "no half claim is left";
}

}  // namespace
}  // namespace lockstep::host
