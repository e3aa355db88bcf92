// SPDX-License-Identifier: Apache-2.0
// Marks of pages, and what is told to whom; saving and loading.
#include "memory/guest_memory.h"

#include <gtest/gtest.h>

#include "kit/marks_told.h"
#include "memory/page_loader.h"

namespace lockstep::memory {
namespace {

constexpr uint64_t kRam = 8 << 20;
constexpr GuestPhys kOne{0x3000}, kOther{0x4000};

class GuestMemoryTest : public testing::Test {
  protected:
    std::unique_ptr<GuestMemory> memory = GuestMemory::create(kRam).take();
};

TEST_F(GuestMemoryTest, APageWithoutMarksIsDirectlyWritable) {
    EXPECT_TRUE(memory->directly_writable(kOne));
    memory->set_code(kOne, true);
    EXPECT_FALSE(memory->directly_writable(kOne + 4095));
    EXPECT_TRUE(memory->directly_writable(kOther));
    memory->set_code(kOne, false);
    EXPECT_TRUE(memory->directly_writable(kOne));
}

TEST_F(GuestMemoryTest, WritesToCodeTellTheListener) {
    MarksTold listener(*memory);
    memory->set_code(kOther, true);
    memory->write_number<uint64_t>(kOther - 8, 1);
    EXPECT_TRUE(listener.code_pages.empty());
    memory->write_number<uint64_t>(kOther - 4, 1);
    EXPECT_EQ(listener.code_pages, std::vector{kOther});
}

TEST_F(GuestMemoryTest, TheFirstWriteToAWatchedPageTellsTheWatcherBeforeItHappens) {
    MarksTold listener(*memory);
    memory->write_number<uint64_t>(kOne, 7);
    WritesWatched watcher(*memory);
    EXPECT_EQ(listener.watches, 1u);
    EXPECT_FALSE(memory->directly_writable(kOne));
    memory->write_number<uint64_t>(kOne, 8);
    memory->write_number<uint64_t>(kOne + 8, 9);
    EXPECT_EQ(watcher.pages, std::vector{kOne});
    EXPECT_EQ(watcher.contents, std::vector{uint64_t{7}});
    EXPECT_TRUE(memory->directly_writable(kOne));
    EXPECT_FALSE(memory->directly_writable(kOther));

    memory->watch_writes(watcher);
    EXPECT_EQ(listener.watches, 2u);
    memory->write_number<uint64_t>(kOther - 4, 1);  // both
    EXPECT_EQ(watcher.pages, (std::vector{kOne, kOne, kOther}));
}

TEST_F(GuestMemoryTest, PreparedWritesToCodeStillGoByWrite) {
    MarksTold listener(*memory);
    memory->set_code(kOne, true);
    WritesWatched watcher(*memory);
    EXPECT_FALSE(memory->prepare_write(kOne));
    EXPECT_TRUE(memory->prepare_write(kOther + 5));
    EXPECT_EQ(watcher.pages, (std::vector{kOne, kOther}));
    EXPECT_FALSE(memory->prepare_write(kOne));
    EXPECT_EQ(watcher.pages.size(), 2u);
    EXPECT_TRUE(listener.code_pages.empty());
}

TEST_F(GuestMemoryTest, UnwatchedAgainOnlyCodeIsMarked) {
    memory->set_code(kOne, true);
    { WritesWatched watcher(*memory); }
    EXPECT_TRUE(memory->directly_writable(kOther));
    EXPECT_FALSE(memory->directly_writable(kOne));
    EXPECT_FALSE(memory->is_watched());
}

TEST_F(GuestMemoryTest, ClearedMemoryIsZeroAndUnwatched) {
    WritesWatched watcher(*memory);
    memory->write_number<uint64_t>(kOne, 7);
    memory->set_code(kOther, true);
    memory->clear();
    EXPECT_EQ(watcher.replaced, 1u);
    EXPECT_FALSE(memory->is_watched());
    EXPECT_EQ(memory->read_number<uint64_t>(kOne), 0u);
    EXPECT_TRUE(memory->directly_writable(kOther));
}

TEST_F(GuestMemoryTest, SavedAndLoadedItIsTheSame) {
    memory->write_number<uint64_t>(kOne, 7);
    memory->write_number<uint64_t>(GuestPhys(kRam - 8), 8);
    Bytes saved;
    ByteWriter out(saved);
    memory->save(out);
    EXPECT_LT(saved.size(), 3 * kPageSize) << "zero pages cost nothing";
    auto other = GuestMemory::create(kRam).take();
    other->write_number<uint64_t>(kOther, 9);
    ByteReader in(saved);
    ASSERT_TRUE(other->load(in).ok());
    EXPECT_EQ(in.remaining(), 0u);
    EXPECT_EQ(other->hash(), memory->hash());
}

TEST_F(GuestMemoryTest, DamagedRecordsAreRefused) {
    memory->write_number<uint64_t>(kOne, 7);
    Bytes saved;
    ByteWriter out(saved);
    memory->save(out);
    for (size_t size : {size_t{0}, size_t{1}, size_t{100}, saved.size() - 1}) {
        ByteReader in(ByteSpan(saved).first(size));
        EXPECT_FALSE(memory->load(in).ok()) << size;
    }
    for (uint64_t word : {2 * (kRam / kPageSize) + 1, ~uint64_t{0}, uint64_t{0}}) {
        Bytes foreign;
        ByteWriter(foreign).varint(word);
        EXPECT_FALSE(PageLoader(*memory).take(foreign).ok()) << word;
    }
}

TEST_F(GuestMemoryTest, PagesThatComeAgainTakeTheEarlierOnesPlace) {
    PageLoader loader(*memory);
    Bytes page(kPageSize, 3), records;
    ByteWriter out(records);
    out.varint(2 * 5 + 2);
    out.raw(page);
    ASSERT_TRUE(loader.take(records).ok());
    EXPECT_EQ(*memory->host(GuestPhys(5 * kPageSize)), 3);
    Bytes zero{2 * 5 + 1};
    ASSERT_TRUE(loader.take(zero).ok());
    EXPECT_EQ(*memory->host(GuestPhys(5 * kPageSize)), 0);
}

}  // namespace
}  // namespace lockstep::memory
