// SPDX-License-Identifier: Apache-2.0
// A live driver under a random host, from a seed; then replays of its log, whole, cut at any icount, and with
// other block lengths. All end in the same state.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "drive/live_driver.h"
#include "drive/replayer.h"
#include "drive/vm_state.h"
#include "replica/replica.h"
#include "toy_machine.h"

namespace lockstep::vmm {
namespace {

using record::Entry;
using testing::ToyConfig;
using testing::ToyMachine;

/// Keeps the log and the outputs.
class Recorder : public drive::LiveListener {
  public:
    void entry_made(LogPos position, std::shared_ptr<const Entry> made) override {
        const Entry& entry = *made;
        EXPECT_EQ(position.value(), log.size());
        if (!log.empty()) {
            EXPECT_GE(entry.icount, log.back().icount);
        }
        log.push_back(entry);
    }
    void output_made(LogPos position, bus::Output output) override {
        EXPECT_EQ(log.at(position.value()).kind, record::EntryKind::kOutput);
        outputs.push_back(std::move(output));
    }
    void progress(Icount icount) override { complete = icount; }

    std::vector<Entry> log;
    std::vector<bus::Output> outputs;
    Icount complete;
};

class SinkToDriver : public bus::OutputSink {
  public:
    void output(bus::Output output) override {
        if (driver) driver->output(std::move(output));
    }
    drive::LiveDriver* driver = nullptr;
};

struct Recording {
    ToyConfig config;
    std::vector<Entry> log;
    std::vector<bus::Output> outputs;
    machine::StateHash hash;
    Icount icount;
    Bytes state_at;  ///< saved in the midst
    LogPos position_at;
};

/// A host whose clock, inputs and stops come from a seed.
class RandomHost {
  public:
    explicit RandomHost(uint64_t seed) : random_(seed) {
        config_ = {.seed = seed, .ram_bytes = 64 << 10, .disk_bytes = 1 << 20, .network = true};
        config_.halts = seed % 3 != 0;
    }

    Recording record(unsigned steps) {
        SinkToDriver sink;
        ToyMachine machine(config_, 1 + static_cast<unsigned>(random_() % 100), sink);
        Recorder recorder;
        drive::LiveOptions options{.ram_bytes = config_.ram_bytes,
                                   .hash_period_ns = 30'000'000,
                                   .slice_ns = random_() % 2 ? 20'000ull : 300'000ull};
        drive::LiveDriver driver(machine, options, LogPos(0), {}, recorder, now_ns_, 0);
        sink.driver = &driver;
        Recording recording;
        recording.config = config_;
        for (unsigned i = 0; i < steps; ++i) {
            offer_inputs(driver, recorder);
            if (random_() % 4 == 0) machine.request_stop();
            drive::LiveDriver::Step step = driver.step([this] { return now_ns_ += random_() % 3'000'000; });
            if (step.next == drive::LiveDriver::Next::kPowerOff) break;
            if (step.next == drive::LiveDriver::Next::kSleep && step.wake_ns != ~uint64_t{0})
                now_ns_ = std::max(now_ns_, random_() % 2 ? step.wake_ns : now_ns_ + 100'000);
            if (i == steps / 2 && driver.cut()) {
                recording.state_at = drive::save_state(machine, driver.counts());
                recording.position_at = driver.position();
            }
        }
        driver.deliver_completions();  // a reset may have left no instruction since the last delivery
        driver.checkpoint(true);
        driver.end(record::EndReason::kStopped, "enough");
        recording.log = std::move(recorder.log);
        recording.outputs = std::move(recorder.outputs);
        recording.hash = machine.hash();
        recording.icount = machine.icount();
        return recording;
    }

  private:
    void offer_inputs(drive::LiveDriver& driver, Recorder& recorder) {
        for (; seen_outputs_ < recorder.outputs.size(); ++seen_outputs_)
            answer(recorder.outputs[seen_outputs_]);
        while (!answers_.empty() && random_() % 3 == 0) {
            driver.add_input(answers_.front());
            answers_.pop_front();
        }
        if (random_() % 5 == 0)
            driver.add_input(
                drive::make_input(machine::kFirstNetwork, record::NetworkReceive{{Bytes(60, 7)}}));
        if (random_() % 50 == 0)
            driver.add_input(
                drive::make_input(machine::kSerialDevice,
                                  record::ConsoleInput{{static_cast<uint8_t>(random_() % 4 ? 'x' : 'r')}}));
    }

    void answer(const bus::Output& output) {
        if (const auto* asked = output.as<bus::DiskRequest>())
            answers_.push_back(drive::make_input(
                output.device, record::DiskCompletion{asked->number, record::DiskStatus::kOk, {}}));
        if (const auto* asked = output.as<bus::RandomRequest>())
            answers_.push_back(drive::make_input(
                output.device, record::RandomBytes{.request = asked->number,
                                                   .bytes = Bytes(8, static_cast<uint8_t>(random_()))}));
    }

    std::mt19937_64 random_;
    ToyConfig config_;
    uint64_t now_ns_ = 1'000'000'000;
    size_t seen_outputs_ = 0;
    std::deque<drive::Input> answers_;
};

class CountingSink : public bus::OutputSink {
  public:
    void output(bus::Output output) override {
        if (replayer) replayer->count_output();
        outputs.push_back(std::move(output));
    }
    drive::Replayer* replayer = nullptr;
    std::vector<bus::Output> outputs;
};

const std::atomic<bool> kNotAborted = false;

class ReplayStress : public ::testing::TestWithParam<uint64_t> {};

TEST_P(ReplayStress, WholeReplaysEndTheSame) {
    Recording recording = RandomHost(GetParam()).record(3000);
    ASSERT_GT(recording.log.size(), 500u);
    for (unsigned block : {1u, 7u, 1000u}) {
        CountingSink sink;
        ToyMachine machine(recording.config, block, sink);
        drive::Replayer replayer(machine, recording.config.ram_bytes, LogPos(0), {}, kNotAborted);
        sink.replayer = &replayer;
        drive::ReplayResult result = drive::ReplayResult::kDone;
        for (const Entry& entry : recording.log) {
            result = replayer.apply(entry);
            ASSERT_NE(result, drive::ReplayResult::kDiverged) << replayer.divergence()->sentence;
        }
        EXPECT_EQ(result, drive::ReplayResult::kEnded);
        EXPECT_TRUE(machine.hash() == recording.hash);
        EXPECT_EQ(machine.icount(), recording.icount);
        EXPECT_GT(replayer.checkpoints(), 10u);
        ASSERT_EQ(sink.outputs.size(), recording.outputs.size());
        for (size_t i = 0; i < sink.outputs.size(); ++i) ASSERT_EQ(sink.outputs[i], recording.outputs[i]);
    }
}

TEST_P(ReplayStress, AReplayStoppedAnywhereEndsTheSame) {
    Recording recording = RandomHost(GetParam()).record(1000);
    std::mt19937_64 random(GetParam() + 1);
    CountingSink sink;
    ToyMachine machine(recording.config, 50, sink);
    drive::Replayer replayer(machine, recording.config.ram_bytes, LogPos(0), {}, kNotAborted);
    sink.replayer = &replayer;
    for (const Entry& entry : recording.log) {
        while (entry.icount > machine.icount() + 1 && random() % 2) {
            Icount stop = machine.icount() + 1 + random() % (entry.icount - machine.icount());
            ASSERT_EQ(replayer.run_to(stop), drive::ReplayResult::kDone);
            ASSERT_EQ(machine.icount(), stop);
        }
        ASSERT_NE(replayer.apply(entry), drive::ReplayResult::kDiverged) << replayer.divergence()->sentence;
    }
    EXPECT_TRUE(machine.hash() == recording.hash);
}

TEST_P(ReplayStress, AReplayFromASavedStateEndsTheSame) {
    Recording recording = RandomHost(GetParam()).record(1000);
    CountingSink sink;
    ToyMachine machine(recording.config, 50, sink);
    auto counts = drive::load_state(machine, recording.state_at);
    ASSERT_TRUE(counts.ok());
    drive::Replayer replayer(machine, recording.config.ram_bytes, recording.position_at, counts.value(),
                             kNotAborted);
    sink.replayer = &replayer;
    for (size_t i = recording.position_at.value(); i < recording.log.size(); ++i)
        ASSERT_NE(replayer.apply(recording.log[i]), drive::ReplayResult::kDiverged)
            << replayer.divergence()->sentence;
    EXPECT_TRUE(machine.hash() == recording.hash);
}

// The primary may have let an output out as soon as its entry was received: in whatever pieces the log comes, and
// wherever it ends for good, the backup has made the output before it goes on.
TEST_P(ReplayStress, EachOutputOfALogThatEndsThereIsMade) {
    Recording recording = RandomHost(GetParam()).record(1000);
    std::mt19937_64 random(GetParam() + 2);
    CountingSink sink;
    ToyMachine machine(recording.config, 50, sink);
    drive::Replayer replayer(machine, recording.config.ram_bytes, LogPos(0), {}, kNotAborted);
    sink.replayer = &replayer;
    unsigned midst = 0;
    for (const Entry& entry : recording.log) {
        ASSERT_NE(replayer.apply(entry), drive::ReplayResult::kDiverged) << replayer.divergence()->sentence;
        if (entry.kind != record::EntryKind::kOutput || random() % 4 == 0) continue;
        uint64_t number = record::decode<record::OutputMark>(entry).value().number;
        midst += sink.outputs.size() <= number;
        ASSERT_EQ(replayer.catch_up(entry.icount), drive::ReplayResult::kDone);
        ASSERT_GT(sink.outputs.size(), number);
        ASSERT_LE(machine.icount(), entry.icount + 1);
    }
    EXPECT_GT(midst, 0u) << "no output was made in the midst of an instruction";
    EXPECT_TRUE(machine.hash() == recording.hash);
}

INSTANTIATE_TEST_SUITE_P(Seeds, ReplayStress, ::testing::Range<uint64_t>(1, 25));

// --- Divergences are noticed ---

drive::ReplayResult replay_all(const Recording& recording, const std::vector<Entry>& log,
                               std::optional<drive::Divergence>& found) {
    CountingSink sink;
    ToyMachine machine(recording.config, 50, sink);
    drive::Replayer replayer(machine, recording.config.ram_bytes, LogPos(0), {}, kNotAborted);
    sink.replayer = &replayer;
    drive::ReplayResult result = drive::ReplayResult::kDone;
    for (const Entry& entry : log) {
        result = replayer.apply(entry);
        if (result != drive::ReplayResult::kDone) break;
    }
    found = replayer.divergence();
    return result;
}

TEST(Divergence, AnInputOneInstructionLateIsFound) {
    Recording recording = RandomHost(3).record(1000);
    std::vector<Entry> log = recording.log;
    size_t moved = 0;
    for (size_t i = log.size() / 2; i + 1 < log.size() && !moved; ++i) {
        bool input = log[i].kind == record::EntryKind::kNetworkReceive;
        if (input && log[i].icount > log[i - 1].icount && log[i].icount < log[i + 1].icount) moved = i;
    }
    ASSERT_NE(moved, 0u);
    ++log[moved].icount;
    std::optional<drive::Divergence> found;
    EXPECT_EQ(replay_all(recording, log, found), drive::ReplayResult::kDiverged);
    ASSERT_TRUE(found);
    EXPECT_GT(found->position.value(), moved);
    EXPECT_NE(found->sentence.find("icount"), std::string::npos);
}

TEST(Divergence, AMissingInputIsFoundAndTheHashNamed) {
    Recording recording = RandomHost(5).record(1000);
    std::vector<Entry> log = recording.log;
    auto input = std::find_if(log.begin() + 100, log.end(), [](const Entry& entry) {
        return entry.kind == record::EntryKind::kNetworkReceive;
    });
    ASSERT_NE(input, log.end());
    log.erase(input);
    std::optional<drive::Divergence> found;
    EXPECT_EQ(replay_all(recording, log, found), drive::ReplayResult::kDiverged);
    ASSERT_TRUE(found);
    EXPECT_TRUE(found->parts & record::kRegistersDiffer);
}

// What is typed waits for the guest's port to have room, and holds nothing else up.
TEST(LiveDriver, TypedInputWaitsForRoom) {
    SinkToDriver sink;
    ToyConfig config{.ram_bytes = 64 << 10, .network = true};
    ToyMachine machine(config, 1, sink);
    Recorder recorder;
    uint64_t now_ns = 1;
    drive::LiveDriver driver(machine, {.ram_bytes = config.ram_bytes, .slice_ns = 20'000}, LogPos(0), {},
                             recorder, now_ns, 0);
    sink.driver = &driver;
    auto step = [&] { driver.step([&] { return now_ns += 100'000; }); };
    auto delivered = [&](record::EntryKind kind) {
        return std::ranges::count(recorder.log, kind, &Entry::kind);
    };
    machine.set_input_room(100);
    for (unsigned i = 0; i < 2; ++i)
        driver.add_input(drive::make_input(machine::kSerialDevice, record::ConsoleInput{Bytes(200, 'x')}));
    driver.add_input(drive::make_input(machine::kFirstNetwork, record::NetworkReceive{{Bytes(60, 7)}}));
    for (unsigned i = 0; i < 20; ++i) step();
    EXPECT_EQ(delivered(record::EntryKind::kNetworkReceive), 1);
    EXPECT_EQ(delivered(record::EntryKind::kConsoleInput), 0);
    machine.set_input_room(1000);
    for (unsigned i = 0; i < 20; ++i) step();
    EXPECT_EQ(delivered(record::EntryKind::kConsoleInput), 2);
}

}  // namespace
}  // namespace lockstep::vmm
