// SPDX-License-Identifier: Apache-2.0
// Paging: what page tables say, when a change of them is seen, and accesses across pages.
#include <cstring>

#include "kit/guest_test.h"

LOCKSTEP_GUEST(copies);
LOCKSTEP_GUEST_LABEL(copies_user);
LOCKSTEP_GUEST(flushed);
LOCKSTEP_GUEST_LABEL(flushed_user);
LOCKSTEP_GUEST(upper_halves);
LOCKSTEP_GUEST(invalidation);
LOCKSTEP_GUEST(global_page);
LOCKSTEP_GUEST(accessed_dirty);
LOCKSTEP_GUEST(write_protection);
LOCKSTEP_GUEST(no_execute);
LOCKSTEP_GUEST(reserved_bit);
LOCKSTEP_GUEST(pcid);
LOCKSTEP_GUEST(large_page);
LOCKSTEP_GUEST(crossing);
LOCKSTEP_GUEST_LABEL(invalidation_fault);
LOCKSTEP_GUEST_LABEL(protection_fault_1);
LOCKSTEP_GUEST_LABEL(protection_fault_2);
LOCKSTEP_GUEST_LABEL(crossing_fault);

namespace lockstep::guests {
namespace {

constexpr uint64_t kLinear = 0x40000000, kUpperLinear = 0xffff900000000000;
constexpr uint64_t kFrameA = kDataArea + 0x5000, kFrameB = kDataArea + 0x2000;
constexpr uint64_t kResults = kDataArea;
constexpr uint64_t kInA = 0xaaaaaaaaaaaaaaaa, kInB = 0xbbbbbbbbbbbbbbbb;
constexpr uint64_t kSet = kAccessed | kDirty;

class PagingTest : public GuestTest {
  protected:
    void prepare(const GuestCode& code, uint64_t flags, uint64_t linear = kLinear) {
        load(code);
        machine.write(kFrameA, kInA);
        machine.write(kFrameB, kInB);
        entry_ = machine.long_mode->map(linear, kFrameA, flags);
        machine.set_reg(cpu::kRbx, linear);
        machine.set_reg(cpu::kRsi, kPhysicalMap + entry_);
        machine.set_reg(cpu::kR8, kFrameA | flags);
        machine.set_reg(cpu::kR9, kFrameB | flags);
        machine.set_reg(cpu::kR12, kPhysicalMap + kResults);
    }
    uint64_t result(unsigned i) const { return machine.read(kResults + 8 * i); }

    uint64_t entry_ = 0;
};

TEST_P(PagingTest, InvalidationShowsAChangedEntry) {
    prepare(LOCKSTEP_GUEST_CODE(invalidation), kPresent | kWritable);
    machine.run_to_end();
    EXPECT_EQ(result(0), kInA);
    EXPECT_EQ(result(1), kInB) << "after INVLPG";
    EXPECT_EQ(result(2), kInA) << "after a load of CR3";
    EXPECT_EQ(result(3), kInB) << "made present";
    ASSERT_EQ(machine.events().size(), 1u);
    expect_event(machine.events()[0], cpu::kPf, 0, invalidation_fault, "#PF");
    EXPECT_EQ(machine.events()[0].cr2, kLinear);
}

TEST_P(PagingTest, GlobalPagesStay) {
    prepare(LOCKSTEP_GUEST_CODE(global_page), kPresent | kWritable, kUpperLinear);
    machine.run_to_end();
    EXPECT_EQ(result(0), kInA) << "after a load of CR3";
    EXPECT_EQ(result(1), kInB) << "after a change of CR4.PGE";
}

TEST_P(PagingTest, AccessedAndDirtyBits) {
    prepare(LOCKSTEP_GUEST_CODE(accessed_dirty), kPresent | kWritable);
    machine.run_to_end();
    uint64_t base = kFrameA | kPresent | kWritable;
    EXPECT_EQ(result(0), base);
    EXPECT_EQ(result(1), base | kAccessed) << "after a read";
    EXPECT_EQ(result(2), base | kSet) << "after a write";
    EXPECT_EQ(result(3), base | kSet) << "after clearing them and a write";
}

TEST_P(PagingTest, WriteProtection) {
    prepare(LOCKSTEP_GUEST_CODE(write_protection), kPresent);
    machine.run_to_end();
    std::vector<Event> events = machine.events();
    ASSERT_EQ(events.size(), 2u);
    expect_event(events[0], cpu::kPf, 3, protection_fault_1, "MOV");
    expect_event(events[1], cpu::kPf, 3, protection_fault_2, "ADD, after CR0.WP was clear for a time");
    EXPECT_EQ(result(0), ~kInA);
    EXPECT_EQ(result(1), 2 * ~kInA);
}

TEST_P(PagingTest, NoExecute) {
    prepare(LOCKSTEP_GUEST_CODE(no_execute), kPresent | kWritable | kNoExecute);
    machine.run_to_end();
    EXPECT_EQ(result(0), 1u);
    ASSERT_EQ(machine.events().size(), 2u);
    for (const Event& event : machine.events()) {
        EXPECT_EQ(event.vector, cpu::kPf);
        EXPECT_EQ(event.error_code, 0x11u);
        EXPECT_EQ(event.rip, kLinear);
        EXPECT_EQ(event.cr2, kLinear);
    }
}

TEST_P(PagingTest, ReservedBits) {
    prepare(LOCKSTEP_GUEST_CODE(reserved_bit), kPresent | kWritable);
    machine.run_to_end();
    ASSERT_EQ(machine.events().size(), 1u);
    EXPECT_EQ(machine.events()[0].error_code, 9u);
}

TEST_P(PagingTest, AddressSpacesWithPcids) {
    prepare(LOCKSTEP_GUEST_CODE(pcid), kPresent | kWritable);
    uint64_t first = machine.long_mode->root();
    uint64_t second = machine.long_mode->add_address_space();
    machine.long_mode->map(kLinear, kFrameB, kPresent | kWritable);
    machine.set_reg(cpu::kR10, first | 1);
    machine.set_reg(cpu::kR11, second | 2);
    machine.run_to_end();
    EXPECT_EQ(result(0), kInA);
    EXPECT_EQ(result(1), kInB);
    EXPECT_EQ(result(2), kInA) << "kept by bit 63 of CR3";
    EXPECT_EQ(machine.events().size(), 1u) << "dropped without bit 63";
    EXPECT_EQ(result(3), kInA);
    EXPECT_EQ(result(4), kInB) << "dropped by INVPCID of the address";
    EXPECT_EQ(result(5), kInA) << "dropped by INVPCID of everything";
}

TEST_P(PagingTest, LargePages) {
    prepare(LOCKSTEP_GUEST_CODE(large_page), kPresent | kWritable);
    constexpr uint64_t kLargeLinear = 0x80000000, kHere = 0x200000, kThere = 0;
    uint64_t entry = machine.long_mode->map_large(kLargeLinear, kHere, kPresent | kWritable);
    machine.set_reg(cpu::kRbx, kLargeLinear);
    machine.set_reg(cpu::kRsi, kPhysicalMap + entry);
    machine.set_reg(cpu::kR9, kThere | kPresent | kWritable | kLarge);
    machine.write(kHere + 0x1ff8, 1);
    machine.write(kHere + 0x100000, 0);
    machine.write(0x1ff8, 3);
    machine.run_to_end();
    EXPECT_EQ(result(0), 1u);
    EXPECT_EQ(result(1), 1u) << "the first result, seen through another piece";
    EXPECT_EQ(result(2), 3u) << "after INVLPG of another piece";
}

TEST_P(PagingTest, AccessesAcrossPages) {
    prepare(LOCKSTEP_GUEST_CODE(crossing), kPresent | kWritable);
    uint64_t second = machine.long_mode->map(kLinear + kPageSize, 0, 0);
    machine.set_reg(cpu::kRsi, kPhysicalMap + second);
    machine.write(kFrameA + 0xff8, kInA);
    machine.run_to_end();
    ASSERT_EQ(machine.events().size(), 1u);
    expect_event(machine.events()[0], cpu::kPf, 2, crossing_fault, "MOV");
    EXPECT_EQ(machine.events()[0].cr2, kLinear + kPageSize);
    EXPECT_EQ(result(0), kInA) << "nothing was written";

    // The same on an array: 32 bytes before the border, 32 after.
    std::array<uint8_t, 64> bytes{};
    std::memset(&bytes[24], 0xaa, 8);
    std::memset(&bytes[32], 0xbb, 8);
    constexpr size_t kAt = 32 - 5;
    auto load_number = [&](size_t at) {
        uint64_t value;
        std::memcpy(&value, &bytes[at], 8);
        return value;
    };
    auto store_number = [&](size_t at, uint64_t value) { std::memcpy(&bytes[at], &value, 8); };
    store_number(kAt, 0x1122334455667788);
    EXPECT_EQ(result(1), load_number(kAt)) << "MOV";
    EXPECT_EQ(result(2), load_number(32));
    store_number(kAt, load_number(kAt) + load_number(32));
    EXPECT_EQ(result(3), load_number(kAt)) << "XADD";
    std::memmove(&bytes[kAt - 8], &bytes[kAt - 4], 16);
    EXPECT_EQ(result(4), load_number(kAt - 8)) << "MOVUPS";
    EXPECT_EQ(result(5), load_number(kAt)) << "PUSH and POP";
}

// Libraries lie somewhere else in each process, so their blocks are copied; nothing of the first address may
// stay.
class CopiesTest : public PagingTest {
  protected:
    /// The same code at so many addresses, a power of two, each of them run `visits` times.
    static void run_at(GuestMachine& machine, uint64_t addresses, uint64_t distance, uint64_t visits) {
        const GuestCode code = LOCKSTEP_GUEST_CODE(copies);
        machine.load(code);
        constexpr uint64_t kFirst = 0x7f0000000000, kUserStack = 0x602000;
        for (uint64_t i = 0; i < addresses; ++i)
            for (uint64_t page = 0; page < 2; ++page)
                machine.long_mode->map(kFirst + i * distance + page * kPageSize, kCodeArea + page * kPageSize,
                                       kPresent | kUser);
        machine.long_mode->map(kUserStack - kPageSize, kDataArea + kPageSize,
                               kPresent | kWritable | kUser | kNoExecute);
        machine.set_reg(cpu::kRsi, code.offset(*copies_user));
        machine.set_reg(cpu::kR13, addresses * visits);
        machine.set_reg(cpu::kR14, addresses - 1);
        machine.set_reg(cpu::kR15, distance);
        ASSERT_EQ(machine.run_to_end(), translate::VcpuExit::kHalted);
        EXPECT_TRUE(machine.events().empty());
        EXPECT_EQ(machine.reg(cpu::kR8), 0u) << "visits that saw another address";
        EXPECT_EQ(machine.reg(cpu::kR13), 0u);
    }
    translate::VcpuCounters counters() { return machine.vcpu->report().counters; }
};

TEST_P(CopiesTest, TheSameCodeAtSeveralAddresses) {
    run_at(machine, 4, 0x123456000, 2);
    if (GetParam().options.copied_blocks) {
        EXPECT_GE(counters().blocks_copied, 3u * 3u);
    }
}

// A copy is chained as its original is: no trip through the dispatcher for each chain.
TEST_P(CopiesTest, ChainsAreCopied) {
    EngineConfiguration alone = GetParam();
    alone.options.copied_chains = false;
    GuestMachine without(alone);
    for (GuestMachine* each : {&machine, &without}) run_at(*each, 64, 0x123456000, 1);
    bool copied = GetParam().options.copied_blocks && GetParam().options.copied_chains;
    uint64_t single_trips = without.vcpu->report().counters.dispatches;
    if (copied && GetParam().options.chaining) {
        EXPECT_LT(counters().dispatches, single_trips);
    } else {
        EXPECT_EQ(counters().dispatches, single_trips);
    }
}

// Where the copies' shelf is full, copies alone go.
TEST_P(CopiesTest, MoreAddressesThanCopiesHaveRoomFor) {
    run_at(machine, 256, 2 * kPageSize, 4);
    if (GetParam().name != "small_cache") return;
    EXPECT_GT(counters().copies_forgotten, 1u);
    EXPECT_GT(counters().blocks_copied, 256u * 3u);
    EXPECT_LT(counters().blocks_translated, 100u) << "what was translated stays";
}

LOCKSTEP_IN_EVERY_CONFIGURATION(CopiesTest);

// After a flush of the TLB branches find their blocks again by where the target's page is mapped now, which
// isn't where it was.
TEST_P(PagingTest, APageThatIsAnotherOneAfterAFlush) {
    const GuestCode code = LOCKSTEP_GUEST_CODE(flushed);
    load(code);
    constexpr uint64_t kUserStack = 0x602000, kFunctions = 16, kRounds = 8;
    constexpr uint64_t kUser0 = 0x7f0000000000;
    machine.long_mode->map(kUser0, kCodeArea, kPresent | kUser);
    uint64_t entry = machine.long_mode->map(kUser0 + kPageSize, kCodeArea + kPageSize, kPresent | kUser);
    machine.long_mode->map(kUserStack - kPageSize, kDataArea + kPageSize,
                           kPresent | kWritable | kUser | kNoExecute);
    machine.set_reg(cpu::kR12, kPhysicalMap + kResults);
    machine.set_reg(cpu::kRdi, kPhysicalMap + entry);
    machine.set_reg(cpu::kR14, (kCodeArea + kPageSize) | kPresent | kUser);
    machine.set_reg(cpu::kR15, (kCodeArea + 2 * kPageSize) | kPresent | kUser);
    machine.set_reg(cpu::kRsi, code.offset(*flushed_user));
    ASSERT_EQ(machine.run_to_end(), translate::VcpuExit::kHalted);
    EXPECT_TRUE(machine.events().empty());
    for (uint64_t round = 0; round < kRounds; ++round)
        EXPECT_EQ(result(static_cast<unsigned>(round)), kFunctions * (1 + round % 2)) << round;
    // Each round has a call and a return for each function; without the index all of them are dispatched.
    constexpr uint64_t kBranches = 2 * kFunctions * kRounds;
    uint64_t dispatches = machine.vcpu->report().counters.dispatches;
    if (GetParam().name == "default") {
        EXPECT_LT(dispatches, kBranches * 2 / 3);
    }
    if (GetParam().name == "no_jump_index") {
        EXPECT_GT(dispatches, kBranches);
    }
}

class UpperHalvesTest : public PagingTest {
  protected:
    static constexpr uint64_t kVisits = 1000;
    /// Two spaces, each with three pages of the upper half for itself, and the kernel's map of the RAM.
    void run_with_map(uint64_t flags);
    translate::VcpuCounters counters() { return machine.vcpu->report().counters; }
};

void UpperHalvesTest::run_with_map(uint64_t flags) {
    constexpr uint64_t kKeep = uint64_t{1} << 63, kOfA = 0x10000, kOfB = 0x2000000;
    constexpr uint64_t kFrameC = kDataArea + 0x8000, kOfC = 0x3000000;
    const GuestCode code = LOCKSTEP_GUEST_CODE(upper_halves);
    load(code);
    for (uint64_t at = 0; at < kRamBytes; at += 2 << 20)
        machine.long_mode->map_large(kPhysicalMap + at, at, kPresent | kWritable | kSet | flags);
    uint64_t first = machine.long_mode->root(), second = machine.long_mode->add_address_space();
    uint64_t entry = machine.long_mode->map(kUpperLinear, kFrameB, kPresent | kWritable);
    machine.long_mode->map(kUpperLinear + kPageSize, kCodeArea + kPageSize, kPresent);
    machine.long_mode->map(kUpperLinear + 2 * kPageSize, kCodeArea + 3 * kPageSize, kPresent);
    machine.long_mode->use_address_space(first);
    machine.long_mode->map(kUpperLinear, kFrameA, kPresent | kWritable);
    machine.long_mode->map(kUpperLinear + kPageSize, kCodeArea + kPageSize, kPresent);
    machine.long_mode->map(kUpperLinear + 2 * kPageSize, kCodeArea + 2 * kPageSize, kPresent);
    machine.write(kFrameA, kOfA);
    machine.write(kFrameB, kOfB);
    machine.write(kFrameC, kOfC);
    machine.set_reg(cpu::kRbx, kUpperLinear);
    machine.set_reg(cpu::kRdi, kPhysicalMap + entry);
    machine.set_reg(cpu::kR9, kFrameC | kPresent | kWritable);
    machine.set_reg(cpu::kR10, first | 1 | kKeep);
    machine.set_reg(cpu::kR11, second | 2 | kKeep);
    machine.set_reg(cpu::kR12, kPhysicalMap + kResults);
    machine.set_reg(cpu::kR13, kVisits);
    ASSERT_EQ(machine.run_to_end(), translate::VcpuExit::kHalted);
    EXPECT_TRUE(machine.events().empty());
    EXPECT_EQ(result(0), kVisits * (kOfA + kOfB + 0x300 + 6));
    EXPECT_EQ(result(1), kOfB + 0x203);
    EXPECT_EQ(result(2), kOfC + 0x203);
    EXPECT_EQ(machine.read(kFrameA + 8), kVisits);
    EXPECT_EQ(machine.read(kFrameB + 8), kVisits + 1);
    EXPECT_EQ(machine.read(kFrameC + 8), 1u);
}

// As with a kernel that hides itself from programs by tables of their own: each space sees its own, and going
// from one to the other throws nothing away.
TEST_P(UpperHalvesTest, ManyPagesOfASpaceAreKeptApart) {
    run_with_map(0);
    if (GetParam().name != "default") return;
    // Loads of CR3 take a trip through the dispatcher each, and another for what follows.
    EXPECT_LT(counters().dispatches, 2 * 2 * kVisits + 2000);
    EXPECT_LT(counters().memory_misses, 600u);
    EXPECT_GT(counters().code_clears, 2u);
}

// As with any kernel: few of its pages aren't global. They go by themselves, and nothing else with them.
TEST_P(UpperHalvesTest, FewPagesOfASpaceGoOneByOne) {
    run_with_map(kGlobal);
    if (GetParam().name != "default") return;
    EXPECT_EQ(counters().code_clears, 2u) << "no code was translated anew";
    EXPECT_LT(counters().memory_misses, 2 * 2 * kVisits + 100) << "of the spaces' own pages";
}

LOCKSTEP_IN_EVERY_CONFIGURATION(PagingTest);
LOCKSTEP_IN_EVERY_CONFIGURATION(UpperHalvesTest);

}  // namespace
}  // namespace lockstep::guests
