// SPDX-License-Identifier: Apache-2.0
// When the vCPU thread wakes up the I/O thread for the outputs of a guest.
#include "vmm/vcpu_thread.h"

#include <gtest/gtest.h>

#include <chrono>
#include <semaphore>

#include "base/check.h"
#include "record/entry_table.h"
#include "record/payloads.h"
#include "toy_machine.h"

namespace lockstep::vmm {
namespace {

using bus::DiskOperation;
using testing::ToyConfig;
using testing::ToyMachine;
using Clock = std::chrono::steady_clock;

void compute(std::chrono::microseconds time) {
    for (Clock::time_point start = Clock::now(); Clock::now() - start < time;) continue;
}

bus::Output a_packet() {
    bus::Packets packets;
    packets.add(Bytes(64));
    return {machine::kFirstNetwork, std::move(packets)};
}
bus::Output a_disk_request(DiskOperation operation) {
    return {machine::kFirstDisk,
            bus::DiskRequest{.number = 1, .operation = operation, .offset = 0, .size = 512, .data = {}}};
}

/// Makes `count` outputs one after another when it runs next, and computes all the time.
class SendingMachine : public ToyMachine {
  public:
    SendingMachine(const ToyConfig& config, bus::OutputSink& sink, const bus::Output& output,
                   std::atomic<unsigned>& count)
        : ToyMachine(config, 1, sink), sink_(sink), output_(output), count_(count) {}

    machine::Stop run(Icount until) override {
        unsigned count = count_.exchange(0);
        for (unsigned i = 0; i < count; ++i) {
            sink_.output(output_);
            compute(std::chrono::microseconds(20));
        }
        return ToyMachine::run(until);
    }

  private:
    bus::OutputSink& sink_;
    const bus::Output& output_;
    std::atomic<unsigned>& count_;
};

class SendingFactory : public MachineFactory {
  public:
    explicit SendingFactory(bus::Output made) : output(std::move(made)) {}
    const bus::Output output;
    std::atomic<unsigned> count = 0;

    Result<Bytes> configure(const VmSettings&) override { return Bytes(); }
    Result<std::unique_ptr<machine::Machine>> create(const SharedBytes& configuration,
                                                     const translate::EngineOptions&, bus::OutputSink& sink,
                                                     uint64_t& ram_bytes) override {
        ToyConfig config = TRY(record::decode_fields<ToyConfig>(configuration, "a toy's configuration"));
        ram_bytes = config.ram_bytes;
        return std::unique_ptr<machine::Machine>(
            std::make_unique<SendingMachine>(config, sink, output, count));
    }
};

/// A live guest, with somebody who wants its entries or not. The test's thread stands for the I/O thread.
class SendingGuest {
  public:
    SendingGuest(EntriesWanted wanted, bus::Output output)
        : factory_(std::move(output)),
          thread_(factory_, {.notify = [this] { notified_.release(); }, .sleeps = {}}) {
        thread_.create(record::encode_fields(ToyConfig{.halts = false}), {}, pair::MadeFor::kPowerOn,
                       [](Result<void>) {});
        thread_.go_live(LogPos(), 0, 0, [](std::vector<bus::Output>) {});
        thread_.want_entries(wanted);
        thread_.group_outputs(500'000);
    }

    struct HandOvers {
        size_t pieces = 0;
        size_t without_log = 0;  ///< of them: what gathers comes with its log
    };
    /// The guest makes outputs when an input has come; returns how they were handed over.
    HandOvers hand_overs_of(unsigned outputs) {
        factory_.count = outputs;
        thread_.add_input(drive::make_input(machine::kSerialDevice, record::ConsoleInput{.bytes = {'x'}}));
        HandOvers hand_overs;
        bool log_sent = false;  // for all that were seen
        for (size_t seen = 0; seen < outputs || !log_sent;) {
            if (!notified_.try_acquire_for(std::chrono::seconds(20))) {
                ADD_FAILURE() << seen << " of " << outputs << " outputs were handed over, "
                              << (log_sent ? "all" : "not all") << " of those with their log";
                break;
            }
            size_t before = seen;
            Batch batch = thread_.take();
            for (const Produced& produced : batch.produced) {
                const auto* made = std::get_if<OutputMade>(&produced);
                seen += made && made->output.what.index() == factory_.output.what.index();
            }
            log_sent = batch.send_log || (log_sent && seen == before);
            hand_overs.pieces += seen > before;
            hand_overs.without_log += seen > before && !batch.send_log;
        }
        return hand_overs;
    }

  private:
    SendingFactory factory_;
    std::counting_semaphore<> notified_{0};
    VcpuThread thread_;
};

TEST(VcpuThread, OutputsOfABusyGuestAreHandedOverInGroups) {
    for (EntriesWanted wanted : {EntriesWanted::kSoon, EntriesWanted::kNo}) {
        for (const bus::Output& output : {a_packet(), a_disk_request(DiskOperation::kRead)}) {
            SendingGuest guest(wanted, output);
            guest.hand_overs_of(1);  // from here on there is traffic
            constexpr unsigned kOutputs = 500;
            auto [pieces, without_log] = guest.hand_overs_of(kOutputs);
            EXPECT_LT(pieces, kOutputs / 5);
            EXPECT_LT(without_log, pieces / 4 + 3);  // single ones, after a pause of the thread
        }
    }
}

/// Guests of which nothing is seen: what they do at each tick of their timer stays inside.
class QuietFactory : public MachineFactory, private bus::OutputSink {
  public:
    Result<Bytes> configure(const VmSettings&) override { return Bytes(); }
    Result<std::unique_ptr<machine::Machine>> create(const SharedBytes& configuration,
                                                     const translate::EngineOptions&, bus::OutputSink&,
                                                     uint64_t& ram_bytes) override {
        ToyConfig config = TRY(record::decode_fields<ToyConfig>(configuration, "a toy's configuration"));
        ram_bytes = config.ram_bytes;
        bus::OutputSink& nowhere = *this;
        return std::unique_ptr<machine::Machine>(std::make_unique<ToyMachine>(config, 1, nowhere));
    }

  private:
    void output(bus::Output) override {}
};

// Each tick is an entry of the log, which a backup wants, but in no hurry.
TEST(VcpuThread, AGuestAtRestWakesNobodyUpForEachTick) {
    QuietFactory factory;
    std::counting_semaphore<> notified{0};
    VcpuThread thread(factory, {.notify = [&] { notified.release(); }, .sleeps = {}});
    thread.create(record::encode_fields(ToyConfig{.halts = true}), {}, {}, [](Result<void>) {});
    thread.go_live(LogPos(), 0, 0, [](std::vector<bus::Output>) {});
    thread.want_entries(EntriesWanted::kSoon);
    size_t entries = 0, wake_ups = 0;
    for (; entries < 100; ++wake_ups) {
        ASSERT_TRUE(notified.try_acquire_for(std::chrono::seconds(20))) << "after " << entries << " entries";
        for (const Produced& produced : thread.take().produced)
            entries += std::holds_alternative<EntryMade>(produced);
    }
    EXPECT_LT(wake_ups, entries / 3);
}

TEST(VcpuThreadDeathTest, AFailedCheckShowsWhatTheGuestDidLast) {
    auto fail = [] {
        SendingGuest guest(EntriesWanted::kSoon, a_packet());
        guest.hand_overs_of(1);
        CHECK(false, "planted");
    };
    EXPECT_DEATH(fail(), "planted(.|\n)*the guest runs here(.|\n)*log entry made(.|\n)*output made");
}

}  // namespace
}  // namespace lockstep::vmm
