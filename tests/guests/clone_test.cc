// SPDX-License-Identifier: Apache-2.0
// A guest that writes its memory in every way there is (its code, its page tables, by strings, by a device) is cloned
// while it runs, by a sender on another thread. The clone and the guest go on to equal states, and so does a guest
// that was never cloned.
//
// LOCKSTEP_SEED, LOCKSTEP_CLONES: the first seed, and how many clones are made in each configuration.
#include "memory/clone.h"

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <random>
#include <thread>

#include "base/hash.h"
#include "kit/guest_test.h"
#include "memory/page_loader.h"
#include "trace.h"

LOCKSTEP_GUEST(writer);
LOCKSTEP_GUEST_LABEL(writer_user);
LOCKSTEP_GUEST_LABEL(writer_system_call);
LOCKSTEP_GUEST_LABEL(writer_trap);

namespace lockstep::guests {
namespace {

constexpr uint64_t kUserCode = 0x400000, kUserStack = 0x602000, kUserData = 0x610000;
constexpr uint64_t kOwnPage = 0xffffa00000000000, kOwnFrame = kDataArea + 0x90000;
constexpr uint64_t kUserFrames = kDataArea + 0xa0000, kUserPages = 17;
constexpr uint64_t kInterruptPeriod = 1009, kTransferPeriod = 487;  ///< instructions
constexpr uint64_t kLongest = 400'000;                              ///< instructions of a guest
constexpr uint8_t kVector = 0x71;

uint64_t number_of(const char* name, uint64_t otherwise) {
    const char* text = std::getenv(name);
    return text ? std::strtoull(text, nullptr, 10) : otherwise;
}

void prepare(GuestMachine& into, uint64_t seed) {
    GuestCode code = LOCKSTEP_GUEST_CODE(writer);
    into.load(code);
    auto address = [&](const uint8_t* label) { return into.address(code.offset(*label)); };
    LongMode& tables = *into.long_mode;
    for (uint64_t page = 0; page < code.size(); page += kPageSize)
        tables.map(kUserCode + page, kCodeArea + page, kPresent | kUser);
    tables.map(kUserStack - kPageSize, kDataArea + 0xf0000, kPresent | kWritable | kUser);
    for (uint64_t page = 0; page < kUserPages; ++page)
        tables.map(kUserData + page * kPageSize, kUserFrames + page * kPageSize,
                   kPresent | kWritable | kUser);
    uint64_t entry = tables.map(kOwnPage, kOwnFrame, kPresent | kWritable | kGlobal);
    for (uint8_t vector : {uint8_t{0x90}, kVector}) tables.set_gate(vector, address(writer_trap), 3);
    cpu::CpuState& state = into.cpu->state;
    state.star = 0x0023'0010'0000'0000;
    state.lstar = address(writer_system_call);
    state.sfmask = 0x700;
    into.set_reg(cpu::kR8, seed);
    into.set_reg(cpu::kRbx, kOwnPage);
    into.set_reg(cpu::kRbp, kPhysicalMap + entry);
    into.set_reg(cpu::kRdi, kPhysicalMap + kDataArea);
    into.set_reg(cpu::kRsi, kUserCode + code.offset(*writer_user));
    into.set_reg(cpu::kR15, kUserData);
    for (uint64_t at = kInterruptPeriod; at < kLongest; at += kInterruptPeriod)
        into.platform.schedule_interrupt(Icount(at), kVector);
}

/// Runs to `until`, with a device that writes data at every kTransferPeriod-th instruction.
void run(GuestMachine& machine, Icount until) {
    while (machine.cpu->state.icount < until) {
        uint64_t now = machine.cpu->state.icount.value(), at = now - now % kTransferPeriod + kTransferPeriod;
        Icount next(at);
        ASSERT_EQ(machine.run(std::min(next, until)), translate::VcpuExit::kReached);
        if (machine.cpu->state.icount != next) continue;
        uint64_t place = hash64({reinterpret_cast<const uint8_t*>(&at), sizeof at});
        machine.memory->write(GuestPhys(kDataArea + place % 0x7e000), Bytes(1 + place % 5000, 0xd5));
    }
}

/// Takes all pages of a clone in pieces, and asks the guest's thread for the next round or the cut in between.
class Sender {
  public:
    Sender(memory::Clone& clone, memory::GuestMemory& into, uint64_t seed)
        : thread_([this, &clone, &into, seed] { send(clone, into, seed); }) {}
    ~Sender() { join(); }
    Sender(const Sender&) = delete;
    Sender& operator=(const Sender&) = delete;

    void join() {
        if (thread_.joinable()) thread_.join();
    }
    bool is_waiting() const { return waiting_; }
    void go_on() {
        waiting_ = false;
        waiting_.notify_one();
    }
    bool is_complete() const { return complete_; }

  private:
    void send(memory::Clone& clone, memory::GuestMemory& into, uint64_t seed) {
        std::mt19937_64 random(seed);
        memory::PageLoader loader(into);
        Bytes records;
        for (;;) {
            records.clear();
            memory::Clone::Taken taken = clone.take(records, 1 + random() % 60'000);
            EXPECT_TRUE(loader.take(records).ok());
            if (taken == memory::Clone::Taken::kComplete) break;
            if (taken == memory::Clone::Taken::kRound) {
                waiting_ = true;
                waiting_.wait(true);
            } else if (random() % 4 == 0) {
                std::this_thread::yield();
            }
        }
        complete_ = true;
    }

    std::atomic<bool> waiting_ = false, complete_ = false;
    std::thread thread_;
};

class CloneTest : public GuestTest {
  protected:
    CloneTest() : copy(GetParam()), reference(GetParam()) {}

    void clone(uint64_t seed) {
        std::mt19937_64 random(seed);
        prepare(machine, seed);
        run(machine, Icount(random() % 30'000));
        unsigned rounds = random() % 3;
        cpu::CpuState state;
        TestPlatform platform;
        Icount cut_at;
        {
            memory::Clone clone(
                *machine.memory, [] { std::this_thread::yield(); }, 1 + random() % 100);
            Sender sender(clone, *copy.memory, ~seed);
            while (!sender.is_complete()) {
                if (machine.cpu->state.icount.value() < kLongest - 50'000)
                    run(machine, machine.cpu->state.icount + 1 + random() % 2000);
                else
                    std::this_thread::sleep_for(std::chrono::microseconds(100));
                if (!sender.is_waiting()) continue;
                if (rounds-- > 0) {
                    clone.next_round();
                } else {
                    machine.cpu->mmu.clear();
                    cut_at = machine.cpu->state.icount;
                    state = machine.cpu->state;
                    platform = machine.platform;
                    clone.cut();
                }
                sender.go_on();
            }
        }
        copy.platform = platform;
        copy.cpu->state = state;
        copy.cpu->mmu.clear();
        copy.vcpu->state_replaced();
        prepare(reference, seed);
        run(reference, cut_at);
        reference.cpu->mmu.clear();
        ASSERT_EQ(compare(trace_point(reference), trace_point(copy)), "") << "the clone, at the cut";
        for (uint64_t further : {uint64_t{0}, random() % 5000}) {
            run(machine, machine.cpu->state.icount + further);
            run(copy, machine.cpu->state.icount);
            run(reference, machine.cpu->state.icount);
            ASSERT_EQ(compare(trace_point(reference), trace_point(machine)), "")
                << "the guest that was cloned";
            ASSERT_EQ(compare(trace_point(reference), trace_point(copy)), "") << "the clone, later";
        }
    }

    GuestMachine copy, reference;
};

TEST_P(CloneTest, GoesOnAsTheGuestDoes) {
    uint64_t first = number_of("LOCKSTEP_SEED", 1), count = number_of("LOCKSTEP_CLONES", 5);
    for (uint64_t seed = first; seed < first + count; ++seed) {
        clone(seed);
        if (HasFailure()) FAIL() << "repeat: LOCKSTEP_SEED=" << seed << " LOCKSTEP_CLONES=1";
    }
}

LOCKSTEP_IN_EVERY_CONFIGURATION(CloneTest);

TEST(CloneOfAProgram, LeavesItTheWindowBetweenTwoRounds) {
    GuestMachine machine({"window", {.window_after = 0}});
    prepare(machine, 1);
    run(machine, Icount(30'000));
    auto counters = [&] { return machine.vcpu->report().counters; };
    if (!counters().windows) GTEST_SKIP() << "a window takes memory on huge pages, which root may have";
    memory::Clone clone(*machine.memory, [] { FAIL(); });
    uint64_t written = 0;
    for (unsigned round = 2; round < 5; ++round) {
        translate::VcpuCounters before = counters();
        run(machine, machine.cpu->state.icount + 20'000);
        EXPECT_GT(counters().windows, before.windows) << "round " << round;
        EXPECT_GT(counters().window_faults, before.window_faults) << "round " << round;
        written = clone.progress().written;
        EXPECT_GT(written, 0u);
        clone.next_round();
    }
    run(machine, machine.cpu->state.icount + 20'000);
}

}  // namespace
}  // namespace lockstep::guests
