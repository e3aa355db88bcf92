// SPDX-License-Identifier: Apache-2.0
// Shared images on storage whose blocks have 4096 bytes: a loop device, and a file system on it. Needs root.
#include "host/direct_io.h"

#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <fstream>

#include "host/disk_image.h"
#include "host/files.h"
#include "support.h"

namespace lockstep::host {
namespace {

constexpr uint64_t kUnit = 4096;

/// What a shell command prints; empty where it fails.
std::string output_of(const std::string& command) {
    FILE* pipe = popen((command + " 2>/dev/null").c_str(), "r");
    std::array<char, 256> line{};
    std::string text;
    while (pipe && fgets(line.data(), line.size(), pipe)) text += line.data();
    if (!pipe || pclose(pipe) != 0) return "";
    return text.substr(0, text.find('\n'));
}

class DirectIoTest : public testing::Test {
  protected:
    void SetUp() override {
        bool apart = geteuid() == 0 && unshare(CLONE_NEWNS) == 0 &&
                     mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0;
        if (!apart) GTEST_SKIP() << "needs the right to mount (root)";
        std::ofstream(folder_ / "storage").close();
        std::filesystem::resize_file(folder_ / "storage", 16 << 20);
        device_ = output_of("losetup --find --show --sector-size 4096 " + folder_ / "storage");
        if (device_.empty()) GTEST_SKIP() << "needs loop devices";
    }
    void TearDown() override {
        if (mounted_) umount2(mounted().c_str(), MNT_DETACH);
        if (!device_.empty()) output_of("losetup --detach " + device_);
    }
    std::string mounted() const { return folder_ / "mounted"; }
    Result<std::unique_ptr<DiskImage>> open(const std::string& path) {
        return DiskImage::create(*loop_, {.path = path, .sharing = DiskSharing::kShared});
    }
    Bytes do_one(DiskImage& image, DiskAction action, uint64_t offset, uint64_t size, uint8_t fill = 0) {
        bool ended = false;
        Bytes read;
        image.submit({.action = action,
                      .offset = offset,
                      .size = size,
                      .data = Bytes(action == DiskAction::kWrite ? size : 0, fill),
                      .done = [&](DiskStatus status, Bytes data) {
                          EXPECT_EQ(status, DiskStatus::kOk);
                          read = std::move(data);
                          ended = true;
                      }});
        EXPECT_TRUE(run_until(*loop_, [&] { return ended; }));
        return read;
    }

    TemporaryFolder folder_;
    std::unique_ptr<EventLoop> loop_ = make_loop();
    std::string device_;
    bool mounted_ = false;
};

TEST_F(DirectIoTest, SectorsOfABlockDeviceWithLargeBlocksAreReadAndWritten) {
    auto image = open(device_);
    ASSERT_TRUE(image.ok()) << image.error().message();
    do_one(*image.value(), DiskAction::kWrite, 0, 3 * kUnit, 1);
    do_one(*image.value(), DiskAction::kWrite, kUnit - 512, 1024, 2);
    Bytes wanted(3 * kUnit, 1);
    std::fill_n(wanted.begin() + kUnit - 512, 1024, uint8_t{2});
    EXPECT_EQ(do_one(*image.value(), DiskAction::kRead, 512, 2 * kUnit),
              Bytes(wanted.begin() + 512, wanted.begin() + 512 + 2 * kUnit));
    do_one(*image.value(), DiskAction::kFlush, 0, 0);
    Bytes storage = read_file(folder_ / "storage").take();
    EXPECT_EQ(Bytes(storage.begin(), storage.begin() + 3 * kUnit), wanted);
}

TEST_F(DirectIoTest, AnImageThatIsNoMultipleOfTheBlocksIsRefused) {
    std::filesystem::create_directory(mounted());
    output_of("mkfs.ext4 -q -b 4096 " + device_);
    if (mount(device_.c_str(), mounted().c_str(), "ext4", 0, nullptr) != 0)
        GTEST_SKIP() << "needs mkfs.ext4 and a kernel with ext4";
    mounted_ = true;
    std::string path = mounted() + "/disk.raw";
    std::ofstream(path).close();
    std::filesystem::resize_file(path, 2 * kUnit + 512);
    auto odd = open(path);
    ASSERT_FALSE(odd.ok());
    expect_contains(odd.error().message(), path);
    expect_contains(odd.error().message(), "truncate -s %4096");
    auto checked = DiskImage::check({.path = path, .sharing = DiskSharing::kShared});
    ASSERT_FALSE(checked.ok()) << "what would be refused at the start is known before";
    EXPECT_EQ(checked.error().message(), odd.error().message());
    EXPECT_TRUE(DiskImage::create(*loop_, {.path = path}).ok()) << "an image that isn't shared may be odd";
    std::filesystem::resize_file(path, 3 * kUnit);
    auto whole = open(path);
    ASSERT_TRUE(whole.ok()) << whole.error().message();
    do_one(*whole.value(), DiskAction::kWrite, 2 * kUnit + 512, kUnit - 512, 7);
    EXPECT_EQ(do_one(*whole.value(), DiskAction::kRead, 3 * kUnit - 512, 512), Bytes(512, 7));
}

TEST(DirectIo, WhereThereIsNoneTheSentenceNamesTheImageAndARemedy) {
    std::string message = no_direct_io("/srv/web.raw").message();
    expect_contains(message, "/srv/web.raw");
    expect_contains(message, "move the image");
}

}  // namespace
}  // namespace lockstep::host
