// SPDX-License-Identifier: Apache-2.0
#include "machine/machine.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <thread>

#include "memory/clone.h"
#include "memory/page_loader.h"
#include "record/payloads.h"
#include "small_kernel.h"

namespace lockstep::machine {
namespace {

/// What left the machine, and when.
class Sink : public bus::OutputSink {
  public:
    void output(bus::Output output) override {
        if (const auto* printed = output.as<bus::ConsoleBytes>())
            text.append(printed->bytes.begin(), printed->bytes.end());
        if (machine) icounts.push_back(machine->icount().value());
    }
    std::string text;
    std::vector<uint64_t> icounts;
    Machine* machine = nullptr;
};

struct Guest {
    explicit Guest(ByteSpan program, translate::EngineOptions options = {}) {
        MachineConfig config;
        config.memory_bytes = 64 << 20;
        config.kernel = make_kernel(program);
        Result<std::unique_ptr<Machine>> made = Machine::create(config, options, sink);
        EXPECT_TRUE(made.ok());
        machine = made.take();
        sink.machine = machine.get();
    }
    Stop run(uint64_t until) { return machine->run(Icount(until)); }
    /// Runs to the end, jumping over the time in which the guest is halted; in steps of random length if a
    /// seed is given.
    Stop run_to_the_end(uint64_t seed = 0) {
        std::mt19937_64 random(seed);
        while (machine->icount().value() < 10'000'000) {
            uint64_t step = seed ? 1 + random() % 3000 : 10'000'000;
            Stop stop = machine->run(machine->icount() + step);
            if (stop == Stop::kPowerOff || stop == Stop::kReset) return stop;
            if (stop == Stop::kHalted) {
                uint64_t wait = machine->next_timer_ns() - machine->guest_time_ns();
                machine->deliver(record::make_entry(machine->icount(), 0, record::TimeAdvance{wait}));
            }
        }
        return Stop::kReached;
    }
    Bytes save() {
        Bytes bytes;
        ByteWriter out(bytes);
        machine->save(out);
        return bytes;
    }

    Sink sink;
    std::unique_ptr<Machine> machine;
};

TEST(Machine, BootsPrintsAndSwitchesItselfOff) {
    Guest guest(SMALL_KERNEL(hello));
    EXPECT_EQ(guest.run(1'000'000), Stop::kPowerOff);
    EXPECT_EQ(guest.sink.text, "Hi") << "what was gathered leaves before the end";
    EXPECT_EQ(guest.run(1'000'000), Stop::kPowerOff);
    EXPECT_EQ(guest.sink.text, "Hi");
}

TEST(Machine, ResetStartsAgainAndTimeGoesOn) {
    Guest guest(SMALL_KERNEL(hello));
    guest.run(1'000'000);
    Icount before = guest.machine->icount();
    guest.machine->reset();
    EXPECT_EQ(guest.machine->icount(), before);
    EXPECT_EQ(guest.run(1'000'000), Stop::kPowerOff);
    EXPECT_EQ(guest.sink.text, "HiHi");
}

TEST(Machine, GuestAndFaultsAskForReset) {
    EXPECT_EQ(Guest(SMALL_KERNEL(reset)).run(1'000'000), Stop::kReset);
    EXPECT_EQ(Guest(SMALL_KERNEL(triple)).run(1'000'000), Stop::kReset);
}

TEST(Machine, StopsExactlyWhereItIsTold) {
    Guest guest(SMALL_KERNEL(count));
    for (uint64_t until : {1, 2, 3, 10, 1000, 12345}) {
        EXPECT_EQ(guest.run(until), Stop::kReached);
        EXPECT_EQ(guest.machine->icount(), Icount(until));
    }
    EXPECT_EQ(guest.run(5), Stop::kReached) << "the past is reached already";
    EXPECT_EQ(guest.machine->icount(), Icount(12345));
}

TEST(Machine, HaltsUntilSomethingComes) {
    Guest guest(SMALL_KERNEL(halt));
    EXPECT_EQ(guest.run(1000), Stop::kHalted);
    EXPECT_EQ(guest.machine->icount(), Icount(1));
    EXPECT_EQ(guest.machine->next_timer_ns(), ~uint64_t{0});
    guest.machine->deliver(
        record::make_entry(Icount(1), 0, record::PowerControl{record::PowerAction::kReset}));
    EXPECT_EQ(guest.run(1000), Stop::kReset);
}

TEST(Machine, AStopMayBeAskedForByAnotherThread) {
    Guest guest(SMALL_KERNEL(count));
    std::thread other([&] { guest.machine->request_stop(); });
    EXPECT_EQ(guest.run(~uint64_t{0} >> 8), Stop::kRequested);
    other.join();
    uint64_t at = guest.machine->icount().value();
    EXPECT_EQ(guest.run(at + 100), Stop::kReached);
    Guest again(SMALL_KERNEL(count));
    EXPECT_EQ(again.run(at + 100), Stop::kReached);
    EXPECT_EQ(again.machine->hash(), guest.machine->hash());
}

TEST(Machine, AStopWithoutASignalIsSeenAtTheNextGlance) {
    Guest guest(SMALL_KERNEL(count));
    guest.machine->set_glance(1000);
    std::thread other([&] { guest.machine->request_stop(translate::StopUrgency::kAtGlance); });
    EXPECT_EQ(guest.run(~uint64_t{0} >> 8), Stop::kRequested);
    other.join();
    // A request that can wait doesn't swallow one that can't.
    guest.machine->set_glance(~uint64_t{0});
    guest.machine->request_stop(translate::StopUrgency::kAtGlance);
    guest.machine->request_stop();
    EXPECT_EQ(guest.run(~uint64_t{0} >> 8), Stop::kRequested);
    std::thread another([&] {
        guest.machine->request_stop(translate::StopUrgency::kAtGlance);
        guest.machine->request_stop();
    });
    EXPECT_EQ(guest.run(~uint64_t{0} >> 8), Stop::kRequested);
    another.join();
}

TEST(Machine, GlancesChangeNothing) {
    Guest reference(SMALL_KERNEL(timer));
    ASSERT_EQ(reference.run_to_the_end(), Stop::kPowerOff);
    StateHash hash = reference.machine->hash();
    for (uint64_t glance : {1, 2, 3, 17, 1000}) {
        SCOPED_TRACE(testing::Message() << "glance " << glance);
        Guest guest(SMALL_KERNEL(timer));
        guest.machine->set_glance(glance);
        ASSERT_EQ(guest.run_to_the_end(), Stop::kPowerOff);
        EXPECT_EQ(guest.sink.text, reference.sink.text);
        EXPECT_EQ(guest.machine->icount(), reference.machine->icount());
        EXPECT_EQ(guest.machine->hash(), hash);
    }
}

TEST(Machine, TimerInterruptsComeAtTheSameInstructionsInEveryRun) {
    Guest reference(SMALL_KERNEL(timer));
    ASSERT_EQ(reference.run_to_the_end(), Stop::kPowerOff);
    EXPECT_EQ(reference.sink.text, "kjihgfedcb");
    StateHash hash = reference.machine->hash();
    for (uint64_t seed = 1; seed <= 20; ++seed) {
        SCOPED_TRACE(testing::Message() << "seed " << seed);
        translate::EngineOptions options;
        options.block_limit = seed % 3 ? 64 : 1;
        options.chaining = seed % 2;
        Guest guest(SMALL_KERNEL(timer), options);
        ASSERT_EQ(guest.run_to_the_end(seed), Stop::kPowerOff);
        EXPECT_EQ(guest.machine->icount(), reference.machine->icount());
        EXPECT_EQ(guest.sink.text, reference.sink.text);
        EXPECT_EQ(guest.sink.icounts, reference.sink.icounts);
        EXPECT_EQ(guest.machine->hash(), hash);
    }
}

TEST(Machine, SavedAndLoadedItGoesOnTheSame) {
    for (uint64_t at : {100, 4000, 7000, 20000}) {
        SCOPED_TRACE(testing::Message() << "saved at " << at);
        Guest original(SMALL_KERNEL(timer)), copy(SMALL_KERNEL(timer));
        original.run(at);
        Bytes state = original.save();
        ByteReader in(state);
        ASSERT_TRUE(copy.machine->load(in).ok());
        EXPECT_EQ(in.remaining(), 0u);
        EXPECT_EQ(copy.save(), state);
        EXPECT_EQ(copy.machine->hash(), original.machine->hash());
        EXPECT_EQ(original.run_to_the_end(), copy.run_to_the_end());
        EXPECT_EQ(copy.machine->hash(), original.machine->hash());
        EXPECT_EQ(copy.machine->icount(), original.machine->icount());
    }
}

TEST(Machine, WhoFollowsTheLogClearsTheTlbWhereAnotherIsSaved) {
    Guest saved(SMALL_KERNEL(stale)), told(SMALL_KERNEL(stale)), other(SMALL_KERNEL(stale));
    saved.run(1000);
    Bytes state;
    ByteWriter out(state);
    saved.machine->save_state(out);
    EXPECT_LT(state.size(), 10'000u);
    told.run(1000);
    told.machine->deliver(record::make_entry(Icount(1000), 0, record::Cut{}));
    for (Guest* guest : {&saved, &told, &other}) guest->run(2000);
    EXPECT_EQ(saved.machine->hash(), told.machine->hash());
    EXPECT_NE(saved.machine->hash(), other.machine->hash()) << "a guest that can't tell";
}

TEST(Machine, ClonedWhileItRunsItGoesOnTheSame) {
    for (uint64_t at : {100, 4000, 7000, 20000}) {
        SCOPED_TRACE(testing::Message() << "cloned from " << at);
        Guest original(SMALL_KERNEL(timer)), copy(SMALL_KERNEL(timer)), reference(SMALL_KERNEL(timer));
        memory::PageLoader loader(copy.machine->memory());
        memory::Clone clone(original.machine->memory(), [] { FAIL(); });
        auto take = [&](size_t bytes) {
            Bytes records;
            memory::Clone::Taken taken = clone.take(records, bytes);
            EXPECT_TRUE(loader.take(records).ok());
            return taken;
        };
        original.run(at);
        take(10'000);
        original.run(at + 500);
        EXPECT_EQ(take(SIZE_MAX), memory::Clone::Taken::kRound);
        original.run(at + 1000);
        clone.cut();
        Bytes state;
        ByteWriter out(state);
        original.machine->save_state(out);
        original.run(at + 1500);
        EXPECT_EQ(take(SIZE_MAX), memory::Clone::Taken::kComplete);
        ByteReader in(state);
        ASSERT_TRUE(copy.machine->load_state(in).ok());
        reference.run(copy.machine->icount().value());
        EXPECT_EQ(copy.machine->hash(), reference.machine->hash());
        EXPECT_EQ(original.run_to_the_end(), copy.run_to_the_end());
        EXPECT_EQ(copy.machine->hash(), original.machine->hash());
        EXPECT_EQ(copy.machine->icount(), original.machine->icount());
    }
}

TEST(Machine, SavingChangesNothing) {
    Guest saved(SMALL_KERNEL(timer)), other(SMALL_KERNEL(timer));
    for (uint64_t at = 1000; at < 12'000; at += 1000) {
        saved.run(at);
        saved.save();
    }
    other.run(saved.machine->icount().value());
    EXPECT_EQ(saved.machine->hash(), other.machine->hash());
}

TEST(Machine, SavingLeavesTheBlocks) {
    Guest guest(SMALL_KERNEL(timer));
    guest.run(2000);
    translate::VcpuCounters before = guest.machine->engine_report().counters;
    guest.save();
    guest.run(2001);
    EXPECT_EQ(guest.machine->engine_report().counters.code_clears, before.code_clears);
}

TEST(Machine, MemoryIsTakenAheadUntilThereIsEnough) {
    Guest guest(SMALL_KERNEL(timer)), other(SMALL_KERNEL(timer));
    guest.run(2000);
    unsigned pieces = 0;
    while (guest.machine->take_memory_ahead()) ASSERT_LT(++pieces, 10'000u);
    EXPECT_GT(pieces, 0u);
    guest.run(10'000);
    other.run(guest.machine->icount().value());
    EXPECT_EQ(guest.machine->hash(), other.machine->hash());
}

TEST(Machine, MemoryGivenBackMakesNoDifference) {
    Guest guest(SMALL_KERNEL(timer)), other(SMALL_KERNEL(timer));
    for (unsigned round = 1; round < 20; ++round) {
        guest.run(round * 1000);
        guest.machine->give_memory_back();
        EXPECT_EQ(guest.machine->engine_report().hot.bytes, 0u);
    }
    other.run(guest.machine->icount().value());
    EXPECT_EQ(guest.machine->hash(), other.machine->hash());
}

TEST(Machine, PartsOfTheMemoryHaveTheirHashes) {
    Guest guest(SMALL_KERNEL(count));
    StateHash before = guest.machine->hash_part(kTestKernelAddress, 4096);
    StateHash elsewhere = guest.machine->hash_part(0, 4096);
    guest.run(1000);
    EXPECT_NE(guest.machine->hash_part(kTestKernelAddress, 4096).memory, before.memory);
    EXPECT_EQ(guest.machine->hash_part(0, 4096).memory, elsewhere.memory);
    EXPECT_NE(guest.machine->hash_part(0, 4096).registers, elsewhere.registers);
    guest.machine->hash_part((64 << 20) - 4096, 1 << 20);  // as far as there is memory
}

TEST(Machine, DamagedStatesAreRefused) {
    Guest guest(SMALL_KERNEL(count));
    Bytes state = guest.save();
    for (size_t size : {size_t{0}, size_t{7}, size_t{9}, size_t{300}, state.size() / 2, state.size() - 1}) {
        Guest other(SMALL_KERNEL(count));
        ByteReader in(ByteSpan(state).first(size));
        EXPECT_FALSE(other.machine->load(in).ok()) << size;
    }
    Bytes foreign = state;
    foreign[0] ^= 1;
    ByteReader in(foreign);
    EXPECT_FALSE(guest.machine->load(in).ok());
}

TEST(Machine, DescribesItself) {
    Guest guest(SMALL_KERNEL(count));
    guest.run(100);
    std::string text = guest.machine->describe();
    for (const char* part : {"icount 100", "rip", "lapic", "uart"})
        EXPECT_NE(text.find(part), std::string::npos) << part;
}

TEST(Machine, BadConfigurationsAreRefused) {
    Sink sink;
    MachineConfig config;
    config.memory_bytes = 64 << 20;
    EXPECT_FALSE(Machine::create(config, {}, sink).ok()) << "no kernel";
    config.kernel = make_kernel(SMALL_KERNEL(halt));
    config.memory_bytes = 1;
    EXPECT_FALSE(Machine::create(config, {}, sink).ok());
    config.memory_bytes = 64 << 20;
    config.disks = {{1, false, ""}};
    EXPECT_FALSE(Machine::create(config, {}, sink).ok());
}

TEST(MachineDeathTest, EntriesBelongToOneIcount) {
    Guest guest(SMALL_KERNEL(count));
    guest.run(10);
    EXPECT_DEATH(guest.machine->deliver(record::make_entry(Icount(9), 0, record::TimeAdvance{1})), "icount");
}

}  // namespace
}  // namespace lockstep::machine
