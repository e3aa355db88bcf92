// SPDX-License-Identifier: Apache-2.0
#include "translate/pieces_aside.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <fstream>

#include "base/strong.h"

namespace lockstep::translate {
namespace {

constexpr uint64_t kPiece = PiecesAside::kPieceBytes;
using Kind = PiecesAside::Kind;

uint64_t resident_bytes() {
    uint64_t size = 0, pages = 0;
    std::ifstream("/proc/self/statm") >> size >> pages;
    return pages * kPageSize;
}

class PiecesAsideTest : public ::testing::Test {
  protected:
    static constexpr uint64_t kPieces = 16;
    ~PiecesAsideTest() override { munmap(mapped_, (kPieces + 1) * kPiece); }

    void map(int flags, int file) {
        mapped_ =
            mmap(nullptr, (kPieces + 1) * kPiece, PROT_READ | PROT_WRITE, flags | MAP_NORESERVE, file, 0);
        ASSERT_NE(mapped_, MAP_FAILED);
        madvise(mapped_, (kPieces + 1) * kPiece, MADV_NOHUGEPAGE);
        start_ = (reinterpret_cast<uint64_t>(mapped_) + kPiece - 1) & ~(kPiece - 1);
    }
    void fill(uint8_t value) { std::memset(reinterpret_cast<void*>(start_), value, kPieces * kPiece); }
    uint8_t at(uint64_t offset) const { return *reinterpret_cast<volatile uint8_t*>(start_ + offset); }
    void move_all(Kind kind) {
        for (uint64_t piece = 0; piece < kPieces; ++piece)
            aside_.move(start_ + piece * kPiece, start_ + (piece + 1) * kPiece, kind);
    }

    void* mapped_ = nullptr;
    uint64_t start_ = 0;
    PiecesAside aside_;
};

TEST_F(PiecesAsideTest, AMovedPieceIsEmptyAndItsMemoryComesBackLater) {
    map(MAP_PRIVATE | MAP_ANONYMOUS, -1);
    fill(0x11);
    uint64_t full = resident_bytes();
    move_all(Kind::kPrivate);
    EXPECT_FALSE(aside_.is_empty());
    EXPECT_GT(resident_bytes(), full - kPiece) << "nothing is given back while the guest stands";
    for (uint64_t offset = 0; offset < kPieces * kPiece; offset += 4096) ASSERT_EQ(at(offset), 0) << offset;
    for (uint64_t piece = 0; piece < kPieces; ++piece) {
        ASSERT_FALSE(aside_.is_empty());
        aside_.give_one_back();
    }
    EXPECT_TRUE(aside_.is_empty());
    EXPECT_LT(resident_bytes(), full - (kPieces - 2) * kPiece);
    aside_.give_one_back();  // there is none
}

TEST_F(PiecesAsideTest, APartOfAPieceMayBeMoved) {
    map(MAP_PRIVATE | MAP_ANONYMOUS, -1);
    fill(0x11);
    aside_.move(start_ + 8192, start_ + kPiece - 4096, Kind::kPrivate);
    EXPECT_EQ(at(8191), 0x11);
    EXPECT_EQ(at(8192), 0);
    EXPECT_EQ(at(kPiece - 4097), 0);
    EXPECT_EQ(at(kPiece - 4096), 0x11);
    aside_.give_all_back();
    EXPECT_EQ(at(8191), 0x11);
}

TEST_F(PiecesAsideTest, AFilesPagesGoWithThePieces) {
    int file = memfd_create("pieces", MFD_CLOEXEC);
    ASSERT_EQ(ftruncate(file, kPieces * kPiece + kPiece), 0);
    map(MAP_SHARED, file);
    fill(0x22);
    struct stat status {};
    ASSERT_EQ(fstat(file, &status), 0);
    EXPECT_GE(static_cast<uint64_t>(status.st_blocks) * 512, kPieces * kPiece);
    move_all(Kind::kShared);
    aside_.give_all_back();
    ASSERT_EQ(fstat(file, &status), 0);
    EXPECT_EQ(status.st_blocks, 0);
    close(file);
}

TEST_F(PiecesAsideTest, TheFirstMakeRoomForMoreThanThereIsRoomFor) {
    map(MAP_PRIVATE | MAP_ANONYMOUS, -1);
    for (uint64_t i = 0; i < 3000; ++i) {
        uint64_t offset = i % kPieces * kPiece;
        std::memset(reinterpret_cast<void*>(start_ + offset), 1, 1);
        aside_.move(start_ + offset, start_ + offset + kPiece, Kind::kPrivate);
        ASSERT_EQ(at(offset), 0) << i;
    }
}

}  // namespace
}  // namespace lockstep::translate
