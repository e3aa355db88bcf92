// SPDX-License-Identifier: Apache-2.0
// Another thread asks a guest to stop all the time, while it takes exceptions, interrupts and traps every few
// instructions. Each state that it stops in must be the one that an undisturbed run has at that icount, as a
// replay would.
//
// LOCKSTEP_STOPS: how many stops each guest makes in each configuration; a million takes some minutes.
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <thread>

#include "cpu/save.h"
#include "kit/guest_test.h"
#include "trace.h"

LOCKSTEP_GUEST(storm);
LOCKSTEP_GUEST_LABEL(storm_user);
LOCKSTEP_GUEST_LABEL(storm_system_call);
LOCKSTEP_GUEST_LABEL(storm_fault);
LOCKSTEP_GUEST_LABEL(storm_fault_with_code);
LOCKSTEP_GUEST_LABEL(storm_trap);
LOCKSTEP_GUEST(stale);

namespace lockstep::guests {
namespace {

constexpr uint64_t kUserCode = 0x400000, kUserStack = 0x602000, kDevice = 0x700000, kUnmapped = 0x800000;
constexpr uint64_t kStalePage = 0xffffa00000000000;
constexpr uint64_t kInterruptPeriod = 1009;  ///< instructions
constexpr uint8_t kVector = 0x71;

uint64_t stops_wanted() {
    const char* text = std::getenv("LOCKSTEP_STOPS");
    return text ? std::strtoull(text, nullptr, 10) : 500;
}

/// Asks a vCPU to stop, from a thread of its own, for as long as it lives.
class Requests {
  public:
    explicit Requests(translate::Vcpu& vcpu)
        : thread_([this, &vcpu] {
              for (uint32_t random = 1; !over_; random = random * 1664525 + 1013904223) {
                  bool quiet = random >> 29 == 0;
                  vcpu.request_stop(quiet ? translate::StopUrgency::kAtGlance
                                          : translate::StopUrgency::kAtOnce);
                  for (volatile uint32_t wait = random >> 20; wait > 0;) wait = wait - 1;
                  std::this_thread::sleep_for(std::chrono::microseconds(random >> 27));
              }
          }) {}
    ~Requests() {
        over_ = true;
        thread_.join();
    }
    Requests(const Requests&) = delete;
    Requests& operator=(const Requests&) = delete;

  private:
    std::atomic<bool> over_ = false;
    std::thread thread_;
};

class StopStormTest : public GuestTest {
  protected:
    struct Stop {
        Icount at;
        uint64_t registers = 0;
    };

    static void prepare_storm(GuestMachine& into) {
        GuestCode code = LOCKSTEP_GUEST_CODE(storm);
        into.load(code);
        auto address = [&](const uint8_t* label) { return into.address(code.offset(*label)); };
        LongMode& tables = *into.long_mode;
        tables.map(kUserCode, kCodeArea, kPresent | kUser);
        tables.map(kUserStack - kPageSize, kDataArea + kPageSize, kPresent | kWritable | kUser);
        tables.map(kDevice, uint64_t{1} << 30, kPresent | kWritable);
        for (uint8_t vector : {cpu::kUd, cpu::kDe}) tables.set_gate(vector, address(storm_fault), 0);
        for (uint8_t vector : {cpu::kPf, cpu::kGp})
            tables.set_gate(vector, address(storm_fault_with_code), 0);
        for (uint8_t vector : {cpu::kDb, cpu::kBp, uint8_t{0x90}, kVector})
            tables.set_gate(vector, address(storm_trap), 3);
        cpu::CpuState& state = into.cpu->state;
        state.star = 0x0023'0010'0000'0000;
        state.lstar = address(storm_system_call);
        state.sfmask = 0x700;
        into.set_reg(cpu::kRbx, kUnmapped);
        into.set_reg(cpu::kRbp, kDevice);
        into.set_reg(cpu::kRdi, kPhysicalMap + kDataArea);
        into.set_reg(cpu::kRsi, kUserCode + code.offset(*storm_user));
        for (uint64_t at = kInterruptPeriod; at < 20'000 * kInterruptPeriod; at += kInterruptPeriod)
            into.platform.schedule_interrupt(Icount(at), kVector);
    }

    /// The same with breakpoints on what the guest writes and on its stack.
    static void prepare_breakpoints(GuestMachine& into) {
        prepare_storm(into);
        constexpr uint64_t kWrites = 0x1'0000, kTouchesEight = 0xb0'0000, kBothEnabled = 5;
        cpu::CpuState& state = into.cpu->state;
        state.dr[0] = kPhysicalMap + kDataArea + 1;
        state.dr[1] = kPhysicalMap + kStackTop - 16;
        state.dr[7] |= kWrites | kTouchesEight | kBothEnabled;
        into.vcpu->state_replaced();
    }

    static void prepare_stale(GuestMachine& into) {
        GuestCode code = LOCKSTEP_GUEST_CODE(stale);
        into.load(code);
        uint64_t entry = into.long_mode->map(kStalePage, kCodeArea, kPresent | kWritable | kGlobal);
        into.set_reg(cpu::kRbx, kPhysicalMap + entry);
        into.cpu->state.rip = kStalePage;
    }

    void storm(void (*prepare)(GuestMachine&)) {
        prepare(machine);
        std::vector<Stop> stops;
        {
            Requests requests(*machine.vcpu);
            while (stops.size() < stops_wanted()) {
                translate::VcpuExit exit = machine.run(machine.cpu->state.icount + 1'000'000'000);
                ASSERT_EQ(exit, translate::VcpuExit::kRequested);
                Icount now = machine.cpu->state.icount;
                if (stops.empty() || now != stops.back().at)
                    stops.push_back({now, cpu::hash(machine.cpu->state)});
            }
        }
        machine.run(machine.cpu->state.icount);  // takes a request that came after the last stop
        TracePoint last = trace_point(machine);
        prepare(machine);
        for (const Stop& stop : stops) {
            ASSERT_EQ(machine.run(stop.at), translate::VcpuExit::kReached);
            ASSERT_EQ(machine.cpu->state.icount, stop.at);
            ASSERT_EQ(cpu::hash(machine.cpu->state), stop.registers)
                << "undisturbed: " << describe(machine.cpu->state);
        }
        ASSERT_EQ(compare(trace_point(machine), last), "");
    }
};

TEST_P(StopStormTest, Deliveries) { storm(prepare_storm); }

TEST_P(StopStormTest, Breakpoints) { storm(prepare_breakpoints); }

TEST_P(StopStormTest, CodeThatOnlyTheTlbKnows) { storm(prepare_stale); }

LOCKSTEP_IN_EVERY_CONFIGURATION(StopStormTest);

}  // namespace
}  // namespace lockstep::guests
