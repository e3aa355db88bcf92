// SPDX-License-Identifier: Apache-2.0
// Disk images on real files, through io_uring.
#include "host/disk_image.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <random>

#include "host/files.h"
#include "support.h"

namespace lockstep::host {
namespace {

class DiskImageTest : public testing::Test {
  protected:
    DiskImageTest() : loop_(make_loop()), path_(folder_ / "disk.raw") {}

    void make_file(uint64_t size) {
        std::ofstream file(path_);
        file.close();
        std::filesystem::resize_file(path_, size);
    }
    std::unique_ptr<DiskImage> open(DiskOptions options = {}) {
        options.path = path_;
        auto image = DiskImage::create(*loop_, options);
        EXPECT_TRUE(image.ok()) << (image.ok() ? "" : image.error().message());
        return image.ok() ? image.take() : nullptr;
    }
    static DiskOptions read_only() {
        DiskOptions options;
        options.mode = DiskMode::kReadOnly;
        return options;
    }
    static DiskOptions shared() {
        DiskOptions options;
        options.sharing = DiskSharing::kShared;
        return options;
    }
    std::string open_error(DiskOptions options = {}) {
        options.path = path_;
        auto image = DiskImage::create(*loop_, options);
        return image.ok() ? "(no error)" : image.error().message();
    }
    /// Submits and waits.
    DiskStatus request(DiskImage& image, DiskAction action, uint64_t offset, Bytes& data) {
        bool ended = false;
        DiskStatus result{};
        auto done = [&](DiskStatus status, Bytes read) {
            result = status;
            if (action == DiskAction::kRead) data = std::move(read);
            ended = true;
        };
        image.submit({.action = action, .offset = offset, .size = data.size(), .data = data, .done = done});
        EXPECT_FALSE(ended);
        EXPECT_TRUE(run_until(*loop_, [&] { return ended; }));
        return result;
    }

    TemporaryFolder folder_;
    std::unique_ptr<EventLoop> loop_;
    std::string path_;
};

TEST_F(DiskImageTest, WhatIsWrittenIsReadAndIsInTheFile) {
    make_file(1 << 20);
    auto image = open();
    EXPECT_EQ(image->size(), 1u << 20);
    Bytes data(8192, 0xa5), flush, read(8192);
    EXPECT_EQ(request(*image, DiskAction::kWrite, 4096, data), DiskStatus::kOk);
    EXPECT_EQ(request(*image, DiskAction::kFlush, 0, flush), DiskStatus::kOk);
    EXPECT_EQ(request(*image, DiskAction::kRead, 4096, read), DiskStatus::kOk);
    EXPECT_EQ(read, data);
    image.reset();
    Bytes file = read_file(path_).take();
    ASSERT_EQ(file.size(), 1u << 20);
    EXPECT_EQ(file[4095], 0);
    EXPECT_EQ(file[4096], 0xa5);
    EXPECT_EQ(file[4096 + 8191], 0xa5);
    EXPECT_EQ(file[4096 + 8192], 0);
}

TEST_F(DiskImageTest, ThousandsOfRequestsAtOnceKeepTheirOrder) {
    constexpr uint64_t kSectors = 64;
    make_file(kSectors * kSectorSize);
    auto image = open();
    std::mt19937 random(7);
    Bytes model(kSectors * kSectorSize);
    size_t ended = 0, count = 5000;
    for (size_t i = 0; i < count; i++) {
        uint64_t sectors = 1 + random() % 8;
        uint64_t offset = random() % (kSectors - sectors + 1) * kSectorSize;
        Bytes data(sectors * kSectorSize, static_cast<uint8_t>(random()));
        std::copy(data.begin(), data.end(), model.begin() + static_cast<ptrdiff_t>(offset));
        image->submit({.action = DiskAction::kWrite,
                       .offset = offset,
                       .size = 0,
                       .data = std::move(data),
                       .done = [&](DiskStatus status, const Bytes&) {
                           EXPECT_EQ(status, DiskStatus::kOk);
                           ended++;
                       }});
        if (random() % 50 == 0) loop_->run_once(0);
    }
    EXPECT_TRUE(run_until(*loop_, [&] { return ended == count; }));
    EXPECT_EQ(read_file(path_).take(), model);
}

TEST_F(DiskImageTest, AWriteIsAskedForAtTheEndOfTheLoopsRound) {
    make_file(1 << 20);
    auto image = open();
    bool may_write = true, ended = false;
    image->set_write_gate([&](LogPos) { return may_write; });
    auto done = [&](DiskStatus, const Bytes&) { ended = true; };
    image->submit(
        {.action = DiskAction::kWrite, .offset = 0, .size = 0, .data = Bytes(kSectorSize, 1), .done = done});
    may_write = false;  // what the lease may do meanwhile
    run_for(*loop_, 20 * kNsPerMs);
    EXPECT_FALSE(ended);
    EXPECT_EQ(read_file(path_).take()[0], 0);
    may_write = true;
    image->issue_kept();
    EXPECT_TRUE(run_until(*loop_, [&] { return ended; }));
    EXPECT_EQ(read_file(path_).take()[0], 1);
}

TEST_F(DiskImageTest, AWriteIsAskedForWhenTheFullRingHasRoomAgain) {
    constexpr uint64_t kCount = 1000;
    make_file(kCount * kSectorSize);
    auto image = open();
    uint64_t allowed = 300, ended = 0;  // more than the ring takes at once
    image->set_write_gate([&](LogPos) { return allowed > 0 && allowed-- > 0; });
    for (uint64_t i = 0; i < kCount; i++) {
        image->submit({.action = DiskAction::kWrite,
                       .offset = i * kSectorSize,
                       .size = 0,
                       .data = Bytes(kSectorSize, 1),
                       .done = [&](DiskStatus, const Bytes&) { ended++; }});
    }
    EXPECT_TRUE(run_until(*loop_, [&] { return ended == 300; }));
    run_for(*loop_, 20 * kNsPerMs);
    EXPECT_EQ(ended, 300u);
    Bytes file = read_file(path_).take();
    EXPECT_EQ(std::ranges::count(file, 1), 300 * int64_t{kSectorSize});
    EXPECT_EQ(image->in_flight(), kCount - 300);
    allowed = kCount;
    image->issue_kept();
    EXPECT_TRUE(run_until(*loop_, [&] { return ended == kCount; }));
}

/// Whether this process has `path` open past the page cache.
bool is_open_for_direct_io(const std::string& path) {
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
        std::error_code ignored;
        if (std::filesystem::read_symlink(entry.path(), ignored) != path) continue;
        int fd = std::stoi(entry.path().filename().string());
        if ((fcntl(fd, F_GETFL) & O_DIRECT) != 0) return true;
    }
    return false;
}

TEST_F(DiskImageTest, WhatIsWrittenToASharedDiskIsNotInThisHostsMemory) {
    make_file(1 << 20);
    open();
    EXPECT_FALSE(is_open_for_direct_io(path_));
    auto image = open(shared());
    EXPECT_TRUE(is_open_for_direct_io(path_));
    Bytes data(3 * kSectorSize, 0xa5), read(5 * kSectorSize);
    EXPECT_EQ(request(*image, DiskAction::kWrite, kSectorSize, data), DiskStatus::kOk);
    EXPECT_EQ(request(*image, DiskAction::kRead, 0, read), DiskStatus::kOk);
    Bytes wanted(5 * kSectorSize);
    std::fill_n(wanted.begin() + kSectorSize, data.size(), uint8_t{0xa5});
    EXPECT_EQ(read, wanted);
}

TEST_F(DiskImageTest, ASharedDiskThatNobodyWritesMayBeCached) {
    make_file(1 << 20);
    DiskOptions options = read_only();
    options.sharing = DiskSharing::kShared;
    auto image = open(options);
    EXPECT_FALSE(is_open_for_direct_io(path_));
}

TEST_F(DiskImageTest, DestructionWaitsForTheKernel) {
    make_file(64 << 20);
    auto image = open();
    for (uint64_t i = 0; i < 64; i++) {
        image->submit({.action = DiskAction::kWrite,
                       .offset = i << 20,
                       .size = 0,
                       .data = Bytes(1 << 20, 1),
                       .done = [](DiskStatus, const Bytes&) { ADD_FAILURE() << "the image was gone"; }});
    }
    image.reset();
    run_for(*loop_, 10 * kNsPerMs);
}

TEST_F(DiskImageTest, AFileThatHasBecomeShorterIsAnError) {
    make_file(1 << 20);
    auto image = open();
    std::filesystem::resize_file(path_, 4096);
    Bytes read(8192);
    EXPECT_EQ(request(*image, DiskAction::kRead, 0, read), DiskStatus::kIoError);
}

TEST_F(DiskImageTest, AReadOnlyDiskRefusesWrites) {
    make_file(1 << 20);
    auto image = open(read_only());
    Bytes data(512);
    EXPECT_EQ(request(*image, DiskAction::kWrite, 0, data), DiskStatus::kOutOfRange);
    EXPECT_EQ(request(*image, DiskAction::kRead, 0, data), DiskStatus::kOk);
}

TEST_F(DiskImageTest, AMissingFileIsNamed) {
    std::string message = open_error();
    expect_contains(message, path_);
    expect_contains(message, "check the path");
}

TEST_F(DiskImageTest, AnOddSizeIsRefused) {
    make_file(1000);
    expect_contains(open_error(), "multiple of 512");
    make_file(0);
    expect_contains(open_error(), "is empty");
    EXPECT_FALSE(DiskImage::size_of(path_).ok());
    make_file(1024);
    EXPECT_EQ(DiskImage::size_of(path_).value(), 1024u);
}

TEST_F(DiskImageTest, AFolderIsRefused) {
    std::filesystem::create_directory(path_);
    expect_contains(open_error(), path_);
}

TEST_F(DiskImageTest, AnImageInUseIsRefusedUnlessBothShareIt) {
    make_file(1 << 20);
    auto alone = open();
    expect_contains(open_error(), "in use by another process");
    expect_contains(open_error(shared()), "in use");
    alone.reset();
    auto one = open(shared());
    auto other = open(shared());
    expect_contains(open_error(), "in use");
}

TEST_F(DiskImageTest, ReadersOfAReadOnlyDiskShareIt) {
    make_file(1 << 20);
    auto one = open(read_only());
    auto other = open(read_only());
    expect_contains(open_error(), "in use");
}

}  // namespace
}  // namespace lockstep::host
