// SPDX-License-Identifier: Apache-2.0
#include "machine/board.h"

#include <gtest/gtest.h>

#include "record/payloads.h"

namespace lockstep::machine {
namespace {

class Sink : public bus::OutputSink {
  public:
    void output(bus::Output output) override { outputs.push_back(std::move(output)); }
    std::vector<bus::Output> outputs;
};

struct Counter : bus::IcountSource {
    Icount icount() const override { return now; }
    Icount now;
};

class BoardTest : public testing::Test {
  protected:
    BoardTest() : board_(make()) {}
    std::unique_ptr<Board> make() { return std::make_unique<Board>(config(), *memory_, counter_, sink_); }
    static MachineConfig config() {
        MachineConfig config;
        config.disks = {{1 << 20, false, "a"}, {1 << 20, true, "b"}};
        config.networks = {{{2, 0, 0, 0, 0, 1}}};
        config.start_time_ns = 1'700'000'000'000'000'000;
        return config;
    }
    static MachineConfig with_firmware() {
        MachineConfig with = config();
        with.firmware = Bytes(2 * 4096, 0x11);
        with.variables = Bytes(4096, 0x22);
        return with;
    }
    uint32_t pci(unsigned device, unsigned offset) {
        board_->write_port(0xcf8, 4, 1u << 31 | device << 11 | offset);
        return board_->read_port(0xcfc, 4);
    }
    template <typename Payload>
    void deliver(uint16_t device, const Payload& payload) {
        board_->deliver(record::make_entry(now_, device, payload));
    }
    static Bytes saved(const Board& board) {
        Bytes bytes;
        ByteWriter out(bytes);
        SectionWriter sections(out);
        board.save(sections);
        sections.end();
        return bytes;
    }
    static Result<void> load(Board& board, ByteSpan state) {
        ByteReader in(state);
        SectionReader sections = TRY(SectionReader::read(in));
        return board.load(sections);
    }

    Counter counter_;
    Icount& now_ = counter_.now;
    Sink sink_;
    std::unique_ptr<memory::GuestMemory> memory_ = memory::GuestMemory::create(16 << 20).take();
    std::unique_ptr<Board> board_;
};

TEST_F(BoardTest, PciDevicesAreAtTheirPlaces) {
    EXPECT_EQ(pci(0, 8) >> 16, 0x0600u);
    EXPECT_EQ(pci(1, 0), 0x10441af4u);
    EXPECT_EQ(pci(2, 0), 0x10431af4u);
    EXPECT_EQ(pci(3, 0), 0x10421af4u);
    EXPECT_EQ(pci(4, 0), 0x10421af4u);
    EXPECT_EQ(pci(5, 0), 0xffffffffu);
    EXPECT_EQ(pci(19, 0), 0x10411af4u);
    // The window of the first disk answers where its BAR says: its capacity in sectors.
    EXPECT_EQ(board_->read_mmio(GuestPhys((pci(3, 0x10) & ~15u) + 0x2000), 8), (1u << 20) / 512);
}

TEST_F(BoardTest, UnclaimedPlacesReadAllOnes) {
    EXPECT_EQ(board_->read_port(0x80, 1), 0xffu);
    EXPECT_EQ(board_->read_mmio(GuestPhys(0xd0000000), 4), 0xffffffffu);
}

TEST_F(BoardTest, SerialInterruptGoesThroughBothApics) {
    auto ioapic = [this](uint32_t index, uint32_t value) {
        board_->write_mmio(GuestPhys(0xfec00000), 4, index);
        board_->write_mmio(GuestPhys(0xfec00010), 4, value);
    };
    board_->write_mmio(GuestPhys(0xfee000f0), 4, 0x1ff);
    ioapic(0x10 + 2 * 4, 0x34);
    board_->write_port(0x3fc, 1, 8);
    board_->write_port(0x3f9, 1, 1);
    EXPECT_FALSE(board_->interrupt_pending());
    deliver(kSerialDevice, record::ConsoleInput{{'x'}});
    ASSERT_TRUE(board_->interrupt_pending());
    EXPECT_EQ(board_->acknowledge_interrupt(), 0x34);
    EXPECT_EQ(board_->read_port(0x3f8, 1), 'x');
}

// As for a kernel without ACPI, MSI and local APIC: by the line that the configuration space names, level-triggered, to
// the 8259s.
TEST_F(BoardTest, PciInterruptsReachThe8259s) {
    for (unsigned chip : {0x20u, 0xa0u}) {
        board_->write_port(static_cast<uint16_t>(chip), 1, 0x11);
        for (unsigned word : {chip == 0x20 ? 0x30u : 0x38u, chip == 0x20 ? 4u : 2u, 1u})
            board_->write_port(static_cast<uint16_t>(chip + 1), 1, word);
    }
    for (unsigned device : {3u, 4u}) {
        unsigned line = pci(device, 0x3c) & 0xff;
        ASSERT_TRUE(line == 10 || line == 11) << line;
        EXPECT_TRUE(board_->read_port(0x4d1, 1) >> (line - 8) & 1)
            << "level-triggered, as firmware leaves it";
        board_->write_port(0xa1, 1, ~(1u << (line - 8)) & 0xff);
        EXPECT_FALSE(board_->interrupt_pending());
        // A driver that lets the device run, with a queue out of memory: the device gives up, which is an interrupt.
        uint64_t window = pci(device, 0x10) & ~15u;
        for (uint64_t status : {0, 1, 3}) board_->write_mmio(GuestPhys(window + 20), 1, status);
        board_->write_mmio(GuestPhys(window + 8), 4, 1);
        board_->write_mmio(GuestPhys(window + 12), 4, 1);
        for (uint64_t status : {0xb, 0xf}) board_->write_mmio(GuestPhys(window + 20), 1, status);
        board_->write_mmio(GuestPhys(window + 22), 2, 0);
        board_->write_mmio(GuestPhys(window + 32), 8, 0x1000);
        board_->write_mmio(GuestPhys(window + 40), 8, 1ull << 60);
        board_->write_mmio(GuestPhys(window + 28), 2, 1);
        board_->write_mmio(GuestPhys(window + 0x3000), 2, 0);
        ASSERT_TRUE(board_->interrupt_pending()) << device;
        EXPECT_EQ(board_->acknowledge_interrupt(), 0x38 + line - 8);
        EXPECT_EQ(board_->read_mmio(GuestPhys(window + 0x1000), 1), 2u);
        board_->write_port(0xa0, 1, 0x20);
        board_->write_port(0x20, 1, 0x20);
        EXPECT_FALSE(board_->interrupt_pending());
    }
}

// Timer 0 of the event timer in place of the interval timer's, and the interval timer after it.
TEST_F(BoardTest, TheEventTimerReplacesTheIntervalTimer) {
    auto hpet = [this](uint64_t offset, uint64_t value) {
        board_->write_mmio(GuestPhys(0xfed00000 + offset), 8, value);
    };
    auto run_to = [this](uint64_t icount) {
        now_ = Icount(icount);
        board_->timers().run_due();
    };
    board_->write_mmio(GuestPhys(0xfee000f0), 4, 0x1ff);
    board_->write_mmio(GuestPhys(0xfec00000), 4, 0x10 + 2 * 2);
    board_->write_mmio(GuestPhys(0xfec00010), 4, 0x32);
    for (unsigned value : {0x34u, 0xa9u, 0x04u}) board_->write_port(value == 0x34 ? 0x43 : 0x40, 1, value);
    hpet(0x108, 500'000);
    hpet(0x100, 4);
    hpet(0x10, 3);
    run_to(4'999'000);
    EXPECT_FALSE(board_->interrupt_pending()) << "the interval timer's periods lead nowhere";
    run_to(5'000'000);
    ASSERT_TRUE(board_->interrupt_pending());
    EXPECT_EQ(board_->acknowledge_interrupt(), 0x32);
    board_->write_mmio(GuestPhys(0xfee000b0), 4, 0);
    hpet(0x10, 0);
    run_to(7'000'000);
    EXPECT_TRUE(board_->interrupt_pending());
}

TEST_F(BoardTest, LevelInterruptsEndByTheLocalApic) {
    board_->write_mmio(GuestPhys(0xfee000f0), 4, 0x1ff);
    board_->write_mmio(GuestPhys(0xfec00000), 4, 0x10 + 2 * 9);
    board_->write_mmio(GuestPhys(0xfec00010), 4, 0x39 | 1 << 15);
    board_->write_port(0x602, 2, 1 << 8);
    deliver(0, record::PowerControl{record::PowerAction::kButton});
    ASSERT_TRUE(board_->interrupt_pending());
    EXPECT_EQ(board_->acknowledge_interrupt(), 0x39);
    board_->write_mmio(GuestPhys(0xfee000b0), 4, 0);
    EXPECT_TRUE(board_->interrupt_pending()) << "the button's bit still stands";
    board_->write_port(0x600, 2, 1 << 8);
    board_->acknowledge_interrupt();
    board_->write_mmio(GuestPhys(0xfee000b0), 4, 0);
    EXPECT_FALSE(board_->interrupt_pending());
}

TEST_F(BoardTest, TimeEntriesSteerTheClock) {
    now_ = Icount(1000);
    deliver(0, record::TimeRate{bus::kRateOne / 2});
    now_ = Icount(2000);
    EXPECT_EQ(board_->tsc_line().at(now_), 1500u);
    deliver(0, record::TimeAdvance{10'000});
    EXPECT_EQ(board_->tsc_line().at(now_), 11'500u);
    EXPECT_EQ(board_->read_msr(0x10), 11'500u);
}

TEST_F(BoardTest, AJumpOfTimeFiresTimersAtOnce) {
    board_->write_port(0x3f8, 1, 'x');
    EXPECT_TRUE(sink_.outputs.empty());
    EXPECT_EQ(board_->next_event(), Icount(devices::Uart::kGatherNs));
    deliver(0, record::TimeAdvance{devices::Uart::kGatherNs});
    ASSERT_EQ(sink_.outputs.size(), 1u);
    EXPECT_EQ(sink_.outputs[0].device, kSerialDevice);
    EXPECT_EQ(board_->next_event(), kNeverIcount);
}

TEST_F(BoardTest, MeaninglessEntriesAreIgnored) {
    Bytes before = saved(*board_);
    deliver(77, record::ConsoleInput{{'x'}});
    deliver(0, record::ConsoleInput{{'x'}});
    deliver(0, record::TimeRate{0});
    deliver(kSerialDevice, record::TimeRate{5});
    board_->deliver({record::EntryKind::kDiskCompletion, now_, kFirstDisk, {1, 2, 3}});
    EXPECT_EQ(saved(*board_), before);
}

TEST_F(BoardTest, OperatorsPowerControl) {
    EXPECT_FALSE(board_->leave_requested());
    board_->write_port(0x3f8, 1, 'x');
    EXPECT_TRUE(sink_.outputs.empty()) << "it is gathered";
    deliver(0, record::PowerControl{record::PowerAction::kPowerOff});
    EXPECT_TRUE(board_->leave_requested());
    EXPECT_EQ(sink_.outputs.size(), 1u) << "the last state hash follows, for which a replay doesn't run";
    board_->reset();
    EXPECT_FALSE(board_->leave_requested());
}

TEST_F(BoardTest, SaveLoadSaveIsIdentical) {
    now_ = Icount(5'000'000);
    deliver(0, record::TimeRate{bus::kRateOne * 2});
    pci(3, 0x10);
    board_->write_port(0xcfc, 4, 0xd0000000);
    board_->write_port(0x3f8, 1, 'x');
    Bytes state = saved(*board_);
    auto other = make();
    ASSERT_TRUE(load(*other, state).ok());
    EXPECT_EQ(saved(*other), state);
    EXPECT_EQ(other->next_event(), board_->next_event());
    EXPECT_EQ(other->read_mmio(GuestPhys(0xd0002000), 8), (1u << 20) / 512) << "where the guest has moved it";
}

TEST_F(BoardTest, StatesOfOtherConfigurationsAreRefused) {
    Bytes state = saved(*board_);
    MachineConfig fewer = config();
    fewer.disks.pop_back();
    Board other(fewer, *memory_, counter_, sink_);
    Result<void> result = load(other, state);
    ASSERT_FALSE(result.ok());
    EXPECT_NE(result.error().message().find("disk1"), std::string::npos);
}

TEST_F(BoardTest, CutStatesAreRefused) {
    Bytes state = saved(*board_);
    for (size_t size = 0; size < state.size(); size += 13) {
        EXPECT_FALSE(load(*make(), ByteSpan(state).first(size)).ok()) << size;
    }
}

TEST_F(BoardTest, ImpossibleConfigurationsAreNamed) {
    EXPECT_TRUE(Board::check(config()).ok());
    MachineConfig odd = config();
    odd.disks[0].size_bytes = 1000;
    EXPECT_NE(Board::check(odd).error().message().find("512"), std::string::npos);
    MachineConfig many = config();
    many.disks.resize(kMaxDisks + 1, {512, false, ""});
    EXPECT_FALSE(Board::check(many).ok());
    many = config();
    many.networks.resize(kMaxNetworks + 1);
    EXPECT_FALSE(Board::check(many).ok());
    MachineConfig serial = config();
    serial.disks[0].serial = std::string(21, 'x');
    EXPECT_FALSE(Board::check(serial).ok());
    for (auto [code, variables] : {std::pair{4097, 4096}, {4096, 4097}, {4096, 0}, {16 << 20, 4096}}) {
        MachineConfig odd_firmware = with_firmware();
        odd_firmware.firmware = Bytes(static_cast<size_t>(code));
        odd_firmware.variables = Bytes(static_cast<size_t>(variables));
        EXPECT_FALSE(Board::check(odd_firmware).ok()) << code << " " << variables;
    }
}

TEST_F(BoardTest, FirmwareFindsItsFlashItsChipsetAndTheDescription) {
    constexpr uint64_t kFlash = memory::kHighRamStart - 3 * 4096;
    ASSERT_TRUE(Board::check(with_firmware()).ok());
    ASSERT_TRUE(memory_->add_rom(with_firmware().firmware).ok());
    board_ = std::make_unique<Board>(with_firmware(), *memory_, counter_, sink_);
    EXPECT_EQ(pci(0, 0), 0x12378086u);
    EXPECT_EQ(pci(1, 0), 0x10441af4u);
    EXPECT_EQ(pci(1, 3 << 8), 0x71138086u) << "power management";
    EXPECT_EQ(pci(1, 3 << 8 | 0x40), devices::kPowerPort | 1u);
    EXPECT_EQ(pci(31, 0), 0x70008086u);
    board_->write_port(0x510, 2, 0);
    EXPECT_EQ(board_->read_port(0x511, 4), 0x554d4551u) << "QEMU";
    EXPECT_EQ(board_->read_mmio(GuestPhys(kFlash), 4), 0x22222222u);
    board_->write_mmio(GuestPhys(kFlash), 1, 0x10);
    board_->write_mmio(GuestPhys(kFlash), 1, 0x02);
    board_->write_mmio(GuestPhys(kFlash), 1, 0xff);

    Bytes state = saved(*board_);
    Board other(with_firmware(), *memory_, counter_, sink_);
    ASSERT_TRUE(load(other, state).ok());
    EXPECT_EQ(saved(other), state);
    EXPECT_EQ(other.read_mmio(GuestPhys(kFlash), 4), 0x22222202u) << "what was programmed";
}

TEST_F(BoardTest, AFullBoardCanBeMade) {
    MachineConfig full = config();
    full.disks.resize(kMaxDisks, {512, false, ""});
    full.networks.resize(kMaxNetworks);
    ASSERT_TRUE(Board::check(full).ok());
    Board board(full, *memory_, counter_, sink_);
    EXPECT_EQ(board.devices().size(), 9u + 2 + kMaxDisks + kMaxNetworks);
}

}  // namespace
}  // namespace lockstep::machine
