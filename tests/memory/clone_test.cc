// SPDX-License-Identifier: Apache-2.0
// A clone is the memory as it was at the cut, whatever is written meanwhile and however two threads meet.
//
// LOCKSTEP_SEED, LOCKSTEP_CLONES: the first seed, and how many clones are made.
#include "memory/clone.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <random>
#include <thread>

#include "memory/page_loader.h"

namespace lockstep::memory {
namespace {

constexpr uint64_t kRam = 4 << 20, kPages = kRam / kPageSize;

uint64_t number_of(const char* name, uint64_t otherwise) {
    const char* text = std::getenv(name);
    return text ? std::strtoull(text, nullptr, 10) : otherwise;
}

class CloneTest : public testing::Test {
  protected:
    void write(uint64_t page, uint64_t value) {
        memory->write_number<uint64_t>(GuestPhys(page * kPageSize + value % 512 * 8), value);
    }
    /// Takes all that can be had without anybody else's doing.
    static Clone::Taken take(Clone& clone, PageLoader& loader) {
        for (;;) {
            Bytes out;
            Clone::Taken taken = clone.take(out, 20'000);
            EXPECT_TRUE(loader.take(out).ok());
            if (taken != Clone::Taken::kMore) return taken;
        }
    }

    std::unique_ptr<GuestMemory> memory = GuestMemory::create(kRam).take();
    std::unique_ptr<GuestMemory> copy = GuestMemory::create(kRam).take();
};

TEST_F(CloneTest, OfAGuestThatStandsIsTheMemory) {
    for (uint64_t page = 0; page < kPages; page += 3) write(page, page + 1);
    PageLoader loader(*copy);
    Clone clone(*memory, [] { FAIL(); });
    EXPECT_EQ(take(clone, loader), Clone::Taken::kRound);
    EXPECT_FALSE(clone.another_round_pays());
    clone.cut();
    EXPECT_EQ(clone.progress().left, 0u);
    EXPECT_EQ(take(clone, loader), Clone::Taken::kComplete);
    EXPECT_EQ(copy->hash(), memory->hash());
}

TEST_F(CloneTest, WritesAfterTheCutAreNotInIt) {
    for (uint64_t page = 0; page < kPages; ++page) write(page, page + 1);
    PageLoader loader(*copy);
    Clone clone(*memory, [] { FAIL(); });
    EXPECT_EQ(take(clone, loader), Clone::Taken::kRound);
    for (uint64_t page = 0; page < 100; ++page) write(page, 1000 + page);
    EXPECT_EQ(clone.progress().written, 100u);
    clone.next_round();
    for (uint64_t page = 50; page < 150; ++page) write(page, 2000 + page);
    EXPECT_EQ(take(clone, loader), Clone::Taken::kRound);
    uint64_t hash = memory->hash();
    clone.cut();
    EXPECT_EQ(clone.progress().left, 100u);
    for (uint64_t page = 0; page < kPages; ++page) write(page, 3000 + page);
    EXPECT_EQ(take(clone, loader), Clone::Taken::kComplete);
    EXPECT_EQ(copy->hash(), hash);
    EXPECT_NE(memory->hash(), hash);
}

TEST_F(CloneTest, MayBeCutBeforeARoundIsOver) {
    for (uint64_t page = 0; page < kPages; ++page) write(page, page + 1);
    PageLoader loader(*copy);
    Clone clone(*memory, [] { FAIL(); });
    Bytes out;
    EXPECT_EQ(clone.take(out, 50'000), Clone::Taken::kMore);
    ASSERT_TRUE(loader.take(out).ok());
    write(0, 5);
    write(kPages - 1, 5);
    uint64_t hash = memory->hash();
    clone.cut();
    write(1, 6);
    EXPECT_EQ(take(clone, loader), Clone::Taken::kComplete);
    EXPECT_EQ(copy->hash(), hash);
}

TEST_F(CloneTest, TheGuestWaitsWhileTheQueueIsFullAndNotOnceCancelled) {
    for (uint64_t page = 0; page < 10; ++page) write(page, page + 1);
    unsigned waits = 0;
    Clone* made = nullptr;
    Clone clone(
        *memory,
        [&] {
            if (++waits == 3) made->cancel();
        },
        4);
    made = &clone;
    clone.cut();
    for (uint64_t page = 0; page < 4; ++page) write(page, 9);
    EXPECT_EQ(waits, 0u);
    write(4, 9);
    EXPECT_EQ(waits, 3u);
    write(5, 9);
    EXPECT_EQ(waits, 3u);
    Bytes out;
    EXPECT_EQ(clone.take(out, 1000), Clone::Taken::kVoid);
}

TEST_F(CloneTest, AResetOfTheGuestMakesItVoid) {
    write(3, 4);
    PageLoader loader(*copy);
    Clone clone(*memory, [] { FAIL(); });
    clone.cut();
    memory->clear();
    write(3, 5);
    EXPECT_EQ(take(clone, loader), Clone::Taken::kVoid);
    Clone another(*memory, [] { FAIL(); });
    EXPECT_EQ(take(another, loader), Clone::Taken::kRound);
}

TEST_F(CloneTest, MemoryIsUnwatchedAfterwards) {
    {
        Clone clone(*memory, [] { FAIL(); });
    }
    EXPECT_FALSE(memory->is_watched());
    EXPECT_TRUE(memory->directly_writable(GuestPhys(0)));
}

// The guest writes as fast as it can, now and then zeroes, while a sender takes in pieces of all sizes.
void race(uint64_t seed, GuestMemory& memory, GuestMemory& copy) {
    std::mt19937_64 random(seed);
    for (uint64_t page = 0; page < kPages; ++page)
        if (random() % 4) memory.write_number<uint64_t>(GuestPhys(page * kPageSize), random());
    std::atomic<uint64_t> step_wanted = 0, steps_made = 0;
    std::atomic<bool> over = false;
    Clone clone(
        memory, [] { std::this_thread::yield(); }, 1 + random() % 64);
    unsigned rounds = random() % 4;
    std::thread sender([&, seed] {
        std::mt19937_64 own(~seed);
        PageLoader loader(copy);
        for (unsigned step = 0;;) {
            Bytes out;
            Clone::Taken taken = clone.take(out, 1 + own() % 100'000);
            EXPECT_TRUE(loader.take(out).ok());
            bool early = own() % 64 == 0 && step <= rounds;
            if (taken == Clone::Taken::kComplete) break;
            if (taken != Clone::Taken::kRound && !early) continue;
            step_wanted = ++step;
            steps_made.wait(step - 1);
        }
        over = true;
    });
    uint64_t hash = 0;
    while (!over) {
        uint64_t page = random() % kPages, many = 1 + random() % 8;
        for (; many && page < kPages; --many, ++page) {
            uint64_t value = random() % 4 ? random() : 0;
            memory.write_number<uint64_t>(GuestPhys(page * kPageSize + random() % 2 * 2048), value);
        }
        if (step_wanted == steps_made) continue;
        if (steps_made < rounds) {
            clone.next_round();
        } else {
            hash = memory.hash();
            clone.cut();
        }
        ++steps_made;
        steps_made.notify_one();
    }
    sender.join();
    ASSERT_EQ(copy.hash(), hash) << "repeat: LOCKSTEP_SEED=" << seed << " LOCKSTEP_CLONES=1";
}

TEST_F(CloneTest, IsTheMemoryAtTheCutWhateverTheTwoThreadsDo) {
    uint64_t first = number_of("LOCKSTEP_SEED", 1), count = number_of("LOCKSTEP_CLONES", 100);
    for (uint64_t seed = first; seed < first + count && !HasFatalFailure(); ++seed)
        race(seed, *memory, *copy);
}

// At any moment: in a round, after the cut, while the guest waits for room.
TEST_F(CloneTest, AResetMeanwhileMakesItVoidAndTheNextOneIsWhole) {
    for (uint64_t seed = 1; seed <= number_of("LOCKSTEP_CLONES", 50); ++seed) {
        SCOPED_TRACE(testing::Message() << "seed " << seed);
        std::mt19937_64 random(seed);
        for (uint64_t page = 0; page < kPages; ++page) write(page, random());
        std::atomic<bool> is_void = false, complete = false;
        {
            Clone clone(
                *memory, [] { std::this_thread::yield(); }, 1 + random() % 8);
            if (random() % 2) clone.cut();
            std::thread sender([&] {
                PageLoader loader(*copy);
                while (!is_void && !complete) {
                    Bytes out;
                    Clone::Taken taken = clone.take(out, 5000);
                    EXPECT_TRUE(loader.take(out).ok());
                    is_void = taken == Clone::Taken::kVoid;
                    complete = taken == Clone::Taken::kComplete;
                }
            });
            for (uint64_t writes = random() % 500; writes; --writes) write(random() % kPages, random());
            memory->clear();
            write(random() % kPages, random());
            sender.join();
        }
        EXPECT_TRUE(is_void || complete);
        PageLoader loader(*copy);
        Clone another(*memory, [] { FAIL(); });
        ASSERT_EQ(take(another, loader), Clone::Taken::kRound);
        ASSERT_EQ(copy->hash(), memory->hash());
    }
}

TEST(PageBits, FindsAndCounts) {
    PageBits bits(200);
    EXPECT_EQ(bits.next(0), 200u);
    bits.add_range(60, 131);
    EXPECT_EQ(bits.count(), 71u);
    EXPECT_EQ(bits.next(0), 60u);
    EXPECT_EQ(bits.next(130), 130u);
    EXPECT_EQ(bits.next(131), 200u);
    EXPECT_TRUE(bits.claim(130));
    EXPECT_FALSE(bits.claim(130));
    EXPECT_EQ(bits.next(130), 200u);
    PageBits other(200);
    other.add(199);
    other.add(61);
    bits.take_all(other);
    EXPECT_EQ(bits.count(), 71u);
    EXPECT_EQ(other.count(), 0u);
    EXPECT_EQ(bits.next(131), 199u);
    EXPECT_EQ(bits.next(200), 200u);
}

}  // namespace
}  // namespace lockstep::memory
