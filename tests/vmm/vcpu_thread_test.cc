// When the vCPU thread wakes up the I/O thread for the packets of a guest.
#include "vmm/vcpu_thread.h"

#include <gtest/gtest.h>

#include <chrono>
#include <semaphore>

#include "record/entry_table.h"
#include "record/payloads.h"
#include "toy_machine.h"

namespace lockstep::vmm {
namespace {

using testing::ToyConfig;
using testing::ToyMachine;
using Clock = std::chrono::steady_clock;

void compute(std::chrono::microseconds time) {
    for (Clock::time_point start = Clock::now(); Clock::now() - start < time;) continue;
}

/// Sends `packets` one after another when it runs next, and computes all the time.
class SendingMachine : public ToyMachine {
  public:
    SendingMachine(const ToyConfig& config, bus::OutputSink& sink, std::atomic<unsigned>& packets)
        : ToyMachine(config, 1, sink), sink_(sink), packets_(packets) {}

    machine::Stop run(Icount until) override {
        bus::Output packet{bus::OutputKind::kPackets, machine::kFirstNetwork,
                           record::encode(record::NetworkReceive{.packets = {Bytes(64)}})};
        unsigned count = packets_.exchange(0);
        for (unsigned i = 0; i < count; ++i) {
            sink_.output(packet);
            compute(std::chrono::microseconds(20));
        }
        return ToyMachine::run(until);
    }

  private:
    bus::OutputSink& sink_;
    std::atomic<unsigned>& packets_;
};

class SendingFactory : public MachineFactory {
  public:
    std::atomic<unsigned> packets = 0;

    Result<Bytes> configure(const VmSettings&) override { return Bytes(); }
    Result<std::unique_ptr<machine::Machine>> create(ByteSpan configuration, const translate::EngineOptions&,
                                                     bus::OutputSink& sink, uint64_t& ram_bytes) override {
        ToyConfig config = TRY(record::decode_fields<ToyConfig>(configuration, "a toy's configuration"));
        ram_bytes = config.ram_bytes;
        return std::unique_ptr<machine::Machine>(std::make_unique<SendingMachine>(config, sink, packets));
    }
};

/// A live guest, with somebody who wants its entries or not. The test's thread stands for the I/O thread.
class SendingGuest {
  public:
    explicit SendingGuest(EntriesWanted wanted) : thread_(factory_, [this] { notified_.release(); }) {
        thread_.create(record::encode_fields(ToyConfig{.halts = false}), {}, {}, [](Result<void>) {});
        thread_.go_live(LogPos(), 0, 0, [](std::vector<bus::Output>) {});
        thread_.want_entries(wanted);
        thread_.group_outputs(500'000);
    }

    /// The guest sends packets when an input has come; returns in how many pieces they were handed over.
    size_t hand_overs_of(unsigned packets) {
        factory_.packets = packets;
        thread_.add_input(make_input(machine::kSerialDevice, record::ConsoleInput{.bytes = {'x'}}));
        size_t pieces = 0;
        bool log_sent = false;  // for all that were seen
        for (size_t seen = 0; seen < packets || !log_sent;) {
            if (!notified_.try_acquire_for(std::chrono::seconds(20))) {
                ADD_FAILURE() << seen << " of " << packets << " packets were handed over, "
                              << (log_sent ? "all" : "not all") << " of those with their log";
                break;
            }
            size_t before = seen;
            Batch batch = thread_.take();
            for (const Produced& produced : batch.produced) {
                const auto* made = std::get_if<OutputMade>(&produced);
                seen += made && made->output.kind == bus::OutputKind::kPackets;
            }
            log_sent = batch.send_log || (log_sent && seen == before);
            pieces += seen > before;
        }
        return pieces;
    }

  private:
    SendingFactory factory_;
    std::counting_semaphore<> notified_{0};
    VcpuThread thread_;
};

TEST(VcpuThread, PacketsOfABusyGuestAreHandedOverInGroups) {
    for (EntriesWanted wanted : {EntriesWanted::kSoon, EntriesWanted::kNo}) {
        SendingGuest guest(wanted);
        guest.hand_overs_of(1);  // from here on there is traffic
        constexpr unsigned kPackets = 500;
        EXPECT_LT(guest.hand_overs_of(kPackets), kPackets / 5);
    }
}

}  // namespace
}  // namespace lockstep::vmm
