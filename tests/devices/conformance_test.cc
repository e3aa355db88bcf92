// SPDX-License-Identifier: Apache-2.0
// The promises that every device keeps, held to each of them in turn:
//
//   save, load, save     the same bytes, in the device itself and in a new one
//   reset                the state after power-on, whatever was done before
//   damaged states       refused, or taken and harmless; never a crash
//   any register access  never a crash, and the device still keeps the promises above
//
// A failure prints the seed.
#include <functional>
#include <random>

#include "devices/ioapic/ioapic.h"
#include "devices/lapic/lapic.h"
#include "devices/legacy/hpet.h"
#include "devices/legacy/pic.h"
#include "devices/legacy/pit.h"
#include "devices/power/power.h"
#include "devices/rtc/rtc.h"
#include "devices/uart/uart.h"
#include "devices/virtio/block/block.h"
#include "devices/virtio/console/console.h"
#include "devices/virtio/net/net.h"
#include "devices/virtio/rng/rng.h"
#include "kit.h"
#include "virtio_driver.h"

namespace lockstep::devices {
namespace {

/// A device, what it needs around it, and the ways to reach its registers.
struct Specimen {
    virtual ~Specimen() = default;
    virtual bus::Device& device() = 0;
    virtual std::vector<std::pair<bus::RegisterHandler*, uint64_t>>
    registers() = 0;  ///< handler, size of its range
    virtual bus::PciFunction* pci() { return nullptr; }
    virtual std::vector<record::Entry> inputs(std::mt19937_64&) { return {}; }
    /// What it holds stays over a reset.
    virtual bool has_battery() const { return false; }
    /// Leaves something in the guest's memory for the device to find.
    virtual void disturb(std::mt19937_64&) {}

    TestTime time;
    TestLine line;
    TestMessages messages;
    TestSink sink;
};

Bytes random_bytes(std::mt19937_64& random, size_t most) {
    Bytes bytes(random() % (most + 1));
    for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
    return bytes;
}

struct LapicSpecimen : Specimen {
    // The registers in memory, and the MSRs behind a window of their own.
    struct Msrs : bus::RegisterHandler {
        explicit Msrs(Lapic& the_lapic) : lapic(the_lapic) {}
        uint64_t read_register(uint64_t offset, unsigned) override {
            return lapic.read_msr(number(offset)).value_or(0);
        }
        void write_register(uint64_t offset, unsigned, uint64_t value) override {
            lapic.write_msr(number(offset), value % 5 ? value & 0xffff : value);
            if (value % 3 == 0) lapic.acknowledge_interrupt();
        }
        static uint32_t number(uint64_t offset) {
            static constexpr uint32_t kOthers[] = {0x10, 0x1b, 0x3b, 0x6e0};
            return offset < 4 ? kOthers[offset] : static_cast<uint32_t>(0x800 + offset - 4);
        }
        Lapic& lapic;
    };
    bus::Device& device() override { return lapic; }
    std::vector<std::pair<bus::RegisterHandler*, uint64_t>> registers() override {
        return {{&lapic, 0x1000}, {&msrs, 4 + 0x40}};
    }
    void disturb(std::mt19937_64& random) override {
        lapic.deliver_message(0xfee00000, static_cast<uint32_t>(random()) & 0xffff);
    }
    Lapic lapic{time.timers};
    Msrs msrs{lapic};
};

struct IoapicSpecimen : Specimen {
    IoapicSpecimen() {
        for (unsigned pin : {4u, 9u, 9u, 16u}) lines.push_back(&ioapic.line(pin));
    }
    bus::Device& device() override { return ioapic; }
    std::vector<std::pair<bus::RegisterHandler*, uint64_t>> registers() override { return {{&ioapic, 0x50}}; }
    void disturb(std::mt19937_64& random) override {
        lines[random() % lines.size()]->set_level(random() & 1);
        ioapic.end_of_interrupt(static_cast<uint8_t>(random()));
    }
    Ioapic ioapic{messages};
    std::vector<bus::InterruptLine*> lines;
};

struct PicSpecimen : Specimen {
    PicSpecimen() {
        for (unsigned input : {0u, 4u, 9u, 10u, 10u}) lines.push_back(&pic.line(input));
    }
    bus::Device& device() override { return pic; }
    std::vector<std::pair<bus::RegisterHandler*, uint64_t>> registers() override {
        return {{&pic.chip(0), 2}, {&pic.chip(1), 2}, {&pic.level_ports(), 2}};
    }
    void disturb(std::mt19937_64& random) override {
        lines[random() % lines.size()]->set_level(random() % 2);
    }
    Pic pic{0x0c00};
    std::vector<bus::InterruptLine*> lines;
};

struct HpetSpecimen : Specimen {
    bus::Device& device() override { return hpet; }
    std::vector<std::pair<bus::RegisterHandler*, uint64_t>> registers() override { return {{&hpet, 0x170}}; }
    void disturb(std::mt19937_64& random) override {
        hpet.replaced_line(random() % 2).set_level(random() % 2);
        // A plausible comparator of a timer that may interrupt.
        uint64_t timer = 0x100 + random() % 3 * 0x20;
        hpet.write_register(0x10, 8, 1 | (random() & 2));
        hpet.write_register(timer, 8, 4 | (random() & 0x14a));
        hpet.write_register(timer + 8, 8, hpet.read_register(0xf0, 8) + random() % 10'000);
    }
    Hpet hpet{{&line, &line}, {&line, &line, &line}, time.timers};
};

struct PitSpecimen : Specimen {
    bus::Device& device() override { return pit; }
    std::vector<std::pair<bus::RegisterHandler*, uint64_t>> registers() override {
        return {{&pit, 4}, {&pit.control_port(), 1}};
    }
    Pit pit{line, time.timers};
};

struct RtcSpecimen : Specimen {
    bus::Device& device() override { return rtc; }
    std::vector<std::pair<bus::RegisterHandler*, uint64_t>> registers() override { return {{&rtc, 2}}; }
    bool has_battery() const override { return true; }
    Rtc rtc{1'700'000'000'000'000'000, line, time.timers};
};

struct PowerSpecimen : Specimen {
    bus::Device& device() override { return power; }
    std::vector<std::pair<bus::RegisterHandler*, uint64_t>> registers() override {
        return {{&power, kPowerPorts}, {&power.reset_port(), 1}, {&power.keyboard_port(), 1}};
    }
    void disturb(std::mt19937_64&) override { power.control(record::PowerAction::kButton); }
    Power power{line, time.timers};
};

struct UartSpecimen : Specimen {
    bus::Device& device() override { return uart; }
    std::vector<std::pair<bus::RegisterHandler*, uint64_t>> registers() override {
        return {{&uart, kUartPorts}};
    }
    std::vector<record::Entry> inputs(std::mt19937_64& random) override {
        return {entry(1, record::ConsoleInput{random_bytes(random, 64)})};
    }
    Uart uart{1, line, time.timers, sink};
};

/// A packet with a header of which much makes sense.
Bytes headed(std::mt19937_64& random) {
    Bytes packet = random_bytes(random, 20000);
    packet.resize(packet.size() + 100);
    packet[0] = static_cast<uint8_t>(random() % 4);
    packet[1] = static_cast<uint8_t>(random() % 3 ? random() % 5 : random());
    return packet;
}

template <typename Model, typename... Args>
struct VirtioSpecimen : Specimen {
    explicit VirtioSpecimen(Args... args)
        : transport(std::make_unique<Model>(args...), *memory, messages, line,
                    virtio::PciPlace{0xc0000000, 16}) {
        transport.reset();
    }
    bus::Device& device() override { return transport; }
    std::vector<std::pair<bus::RegisterHandler*, uint64_t>> registers() override {
        return {{&transport, virtio::kWindowSize}, {&transport, 56}};
    }
    bus::PciFunction* pci() override { return &transport; }
    std::vector<record::Entry> inputs(std::mt19937_64& random) override {
        return {entry(1, record::DiskCompletion{random() % 64, record::DiskStatus::kOk, Bytes(512)}),
                entry(1, record::NetworkReceive{{random_bytes(random, 2000), random_bytes(random, 100),
                                                 headed(random)}}),
                entry(1, record::ConsoleInput{random_bytes(random, 64)}),
                entry(1, record::RandomBytes{random() % 64, random_bytes(random, 64)})};
    }
    // A driver that starts the device properly and then fills its rings with garbage, some of it plausible.
    void disturb(std::mt19937_64& random) override {
        auto write = [this](uint64_t offset, unsigned size, uint64_t value) {
            transport.write_register(offset, size, value);
        };
        if (random() % 4 == 0) start(write, random);
        for (int i = 0; i < 64; ++i) {
            uint64_t at = 0x10000 + random() % 0x800 * 16 % 0x8000;
            memory->write_number<uint64_t>(GuestPhys(at), random() % 3 ? random() % (4 << 20) : random());
            memory->write_number<uint32_t>(GuestPhys(at + 8),
                                           static_cast<uint32_t>(random() % 5 ? random() % 4096 : random()));
            memory->write_number<uint16_t>(GuestPhys(at + 12), static_cast<uint16_t>(random() % 8));
            memory->write_number<uint16_t>(GuestPhys(at + 14), static_cast<uint16_t>(random() % 20));
        }
        for (uint64_t queue = 0; queue < 2; ++queue) {
            memory->write_number<uint16_t>(GuestPhys(0x12002 + queue * 0x4000),
                                           static_cast<uint16_t>(random() % 20));
            write(0x3000 + 4 * queue, 2, queue);
        }
    }
    template <typename Write>
    void start(Write write, std::mt19937_64& random) {
        write(20, 1, 0);
        write(8, 4, 0);
        write(12, 4, static_cast<uint32_t>(random() & transport.model().features()));
        write(8, 4, 1);
        write(12, 4, 1);
        write(20, 1, 0xb);
        for (uint64_t queue = 0; queue < 2; ++queue) {
            uint64_t base = 0x10000 + queue * 0x4000;
            write(22, 2, queue);
            write(24, 2, 16);
            write(32, 8, base);
            write(40, 8, base + 0x2000);
            write(48, 8, base + 0x3000);
            write(28, 2, 1);
        }
        write(20, 1, 0xf);
    }
    std::unique_ptr<memory::GuestMemory> memory = make_memory();
    virtio::PciTransport transport;
};

// The outputs of virtio specimens are of no interest; one sink and one counter serve them all.
TestSink shared_sink;
virtio::RequestNumbers shared_numbers;

struct BlockSpecimen
    : VirtioSpecimen<virtio::Block, uint16_t, std::string, virtio::BlockConfig,
                     std::reference_wrapper<virtio::RequestNumbers>, std::reference_wrapper<TestSink>> {
    BlockSpecimen()
        : VirtioSpecimen(uint16_t{16}, std::string("disk0"), virtio::BlockConfig{1 << 20, false, "s"},
                         std::ref(shared_numbers), std::ref(shared_sink)) {}
};
struct NetSpecimen : VirtioSpecimen<virtio::Net, uint16_t, std::string, std::array<uint8_t, 6>,
                                    virtio::NetFeatures, std::reference_wrapper<TestSink>> {
    NetSpecimen()
        : VirtioSpecimen(uint16_t{32}, std::string("network0"), std::array<uint8_t, 6>{2},
                         virtio::NetFeatures::kOffloads, std::ref(shared_sink)) {}
};
struct RngSpecimen : VirtioSpecimen<virtio::Rng, uint16_t, std::reference_wrapper<virtio::RequestNumbers>,
                                    std::reference_wrapper<TestSink>> {
    RngSpecimen() : VirtioSpecimen(uint16_t{3}, std::ref(shared_numbers), std::ref(shared_sink)) {}
};
struct ConsoleSpecimen : VirtioSpecimen<virtio::Console, uint16_t, std::reference_wrapper<TestSink>> {
    ConsoleSpecimen() : VirtioSpecimen(uint16_t{2}, std::ref(shared_sink)) {}
};

struct Kind {
    const char* name;
    std::unique_ptr<Specimen> (*make)();
};
template <typename T>
std::unique_ptr<Specimen> make_specimen() {
    return std::make_unique<T>();
}

class Conformance : public testing::TestWithParam<Kind> {
  protected:
    static constexpr uint64_t kSeeds = 10;
    std::unique_ptr<Specimen> make() {
        auto specimen = GetParam().make();
        specimen->device().reset();
        return specimen;
    }
    /// One random thing that a guest, the world or time may do to a device.
    void act(Specimen& specimen, std::mt19937_64& random) {
        static constexpr unsigned kSizes[] = {1, 2, 4, 8};
        auto ranges = specimen.registers();
        auto [handler, size] = ranges[random() % ranges.size()];
        unsigned bytes = kSizes[random() % 4];
        uint64_t value = random() % 2 ? random() : random() & 0x1f;
        switch (random() % 16) {
            case 0:
                specimen.disturb(random);
                break;
            case 1:
                specimen.time.pass(random() % 10'000'000);
                break;
            case 2:
                for (const record::Entry& input : specimen.inputs(random)) specimen.device().input(input);
                break;
            case 3:
                if (bus::PciFunction* pci = specimen.pci()) {
                    unsigned offset = static_cast<unsigned>(random() % 64 * 4);
                    pci->write_config(offset, 4, static_cast<uint32_t>(value));
                    pci->read_config(offset, 4);
                }
                break;
            case 4:
            case 5:
            case 6:
                handler->read_register(random() % size, bytes);
                break;
            default:
                handler->write_register(random() % size, bytes, value);
        }
    }
    void act_often(Specimen& specimen, uint64_t seed) {
        std::mt19937_64 random(seed);
        for (int i = 0; i < 3000; ++i) act(specimen, random);
    }
};

TEST_P(Conformance, SaveLoadSaveIsIdentical) {
    for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
        SCOPED_TRACE(testing::Message() << "seed " << seed);
        auto specimen = make();
        act_often(*specimen, seed);
        Bytes state = saved(specimen->device());
        ASSERT_TRUE(loads(specimen->device(), state));
        EXPECT_EQ(saved(specimen->device()), state);
        auto other = make();
        ASSERT_TRUE(loads(other->device(), state));
        EXPECT_EQ(saved(other->device()), state);
    }
}

TEST_P(Conformance, ResetIsThePowerOnState) {
    for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
        SCOPED_TRACE(testing::Message() << "seed " << seed);
        auto specimen = make(), fresh = make();
        if (specimen->has_battery()) return;
        act_often(*specimen, seed);
        uint64_t passed = specimen->time.now - fresh->time.now;
        specimen->device().reset();
        fresh->time.pass(passed);
        fresh->device().reset();
        EXPECT_EQ(saved(specimen->device()), saved(fresh->device()));
    }
}

// The same acts, the same bytes: nothing uninitialised, no dependence on addresses.
TEST_P(Conformance, TheSameHistoryGivesTheSameState) {
    for (uint64_t seed = 1; seed <= 5; ++seed) {
        SCOPED_TRACE(testing::Message() << "seed " << seed);
        shared_numbers.set(1);
        auto one = make();
        act_often(*one, seed);
        Bytes state = saved(one->device());
        shared_numbers.set(1);
        auto two = make();
        act_often(*two, seed);
        EXPECT_EQ(saved(two->device()), state);
    }
}

TEST_P(Conformance, AStateGoesOnAsTheOriginalDoes) {
    for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
        SCOPED_TRACE(testing::Message() << "seed " << seed);
        auto one = make(), two = make();
        act_often(*one, seed);
        two->time.now = one->time.now;
        ASSERT_TRUE(loads(two->device(), saved(one->device())));
        one->time.pass(50'000'000);
        two->time.pass(50'000'000);
        EXPECT_EQ(saved(one->device()), saved(two->device()));
    }
}

TEST_P(Conformance, CutStatesAreRefused) {
    auto specimen = make();
    act_often(*specimen, 1);
    Bytes state = saved(specimen->device());
    for (size_t size = 0; size < state.size(); size += 1 + size / 16) {
        auto other = make();
        ByteReader in(ByteSpan(state).first(size));
        EXPECT_FALSE(other->device().load(in).ok()) << "cut to " << size << " of " << state.size();
    }
}

TEST_P(Conformance, DamagedStatesDoNoHarm) {
    auto specimen = make();
    act_often(*specimen, 1);
    Bytes state = saved(specimen->device());
    for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
        SCOPED_TRACE(testing::Message() << "seed " << seed);
        std::mt19937_64 random(seed);
        Bytes damaged = state;
        for (int i = 0; i < 3; ++i) damaged[random() % damaged.size()] = static_cast<uint8_t>(random());
        auto other = make();
        ByteReader in(damaged);
        if (!other->device().load(in).ok()) continue;
        for (int i = 0; i < 300; ++i) act(*other, random);
    }
}

INSTANTIATE_TEST_SUITE_P(
    Devices, Conformance,
    testing::Values(Kind{"lapic", make_specimen<LapicSpecimen>},
                    Kind{"ioapic", make_specimen<IoapicSpecimen>}, Kind{"pic", make_specimen<PicSpecimen>},
                    Kind{"hpet", make_specimen<HpetSpecimen>}, Kind{"pit", make_specimen<PitSpecimen>},
                    Kind{"rtc", make_specimen<RtcSpecimen>}, Kind{"power", make_specimen<PowerSpecimen>},
                    Kind{"uart", make_specimen<UartSpecimen>}, Kind{"block", make_specimen<BlockSpecimen>},
                    Kind{"net", make_specimen<NetSpecimen>}, Kind{"rng", make_specimen<RngSpecimen>},
                    Kind{"console", make_specimen<ConsoleSpecimen>}),
    [](const auto& instance) { return std::string(instance.param.name); });

}  // namespace
}  // namespace lockstep::devices
