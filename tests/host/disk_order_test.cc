// SPDX-License-Identifier: Apache-2.0
// The order of disk requests, against a file that completes them in any order, in parts, and with errors.
//
// Each seed makes a history of requests. Afterwards the requests are applied to a model one by one in the
// order of their submission; what every read returned, and what the file holds at the end, must agree with
// the model.
#include <algorithm>
#include <cerrno>
#include <random>

#include "host/disk_image.h"
#include "support.h"

namespace lockstep::host {
namespace {

constexpr uint64_t kDiskSize = 64 * kSectorSize;

/// Holds every operation until the test completes it.
class FaultyFile final : public BlockIo {
  public:
    FaultyFile(Bytes& content, uint64_t unit) : content_(content), unit_(unit) {}

    void submit_soon() override {
        if (takes_at_once) take_all();
    }
    /// The end of a loop's round, or room in the kernel's ring.
    void take_all() {
        while (std::optional<Operation> operation = user_->next()) {
            writes_issued += operation->kind == Kind::kWrite;
            check_units(*operation);
            auto writes = std::ranges::count(operations, Kind::kWrite, &Operation::kind);
            if (operation->kind == Kind::kSync) writes_beside_sync += static_cast<uint64_t>(writes);
            operations.push_back(*operation);
        }
    }

    /// Completes operation `index` with `error` (0: none), of which `bytes` take effect.
    void complete(size_t index, int error, size_t bytes) {
        Operation operation = operations[index];
        operations.erase(operations.begin() + static_cast<ptrdiff_t>(index));
        if (error != 0) return user_->ended(operation.id, -error);
        if (operation.kind == Kind::kSync) return user_->ended(operation.id, 0);
        bytes = std::min(bytes, operation.memory.size());
        auto place = content_.begin() + static_cast<ptrdiff_t>(operation.offset);
        if (operation.kind == Kind::kWrite)
            std::copy_n(operation.memory.begin(), bytes, place);
        else
            std::copy_n(place, bytes, operation.memory.begin());
        user_->ended(operation.id, static_cast<int>(bytes));
    }
    void complete(size_t index) { complete(index, 0, SIZE_MAX); }

    std::vector<Operation> operations;
    bool takes_at_once = true;
    uint64_t writes_issued = 0;
    uint64_t writes_beside_sync = 0;

  private:
    void check_units(const Operation& operation) const {
        if (unit_ == 1) return;
        EXPECT_EQ(operation.offset % unit_, 0u);
        EXPECT_EQ(operation.memory.size() % unit_, 0u);
        EXPECT_EQ(reinterpret_cast<uintptr_t>(operation.memory.data()) % unit_, 0u);
    }

    Bytes& content_;
    uint64_t unit_;
};

struct Submitted {
    DiskAction action;
    uint64_t offset;
    uint64_t size;
    Bytes data;  // written, or read
    bool ended = false;
    DiskStatus status{};
};

class DiskOrder : public testing::Test {
  protected:
    explicit DiskOrder(uint64_t unit = 1) : content_(kDiskSize), loop_(make_loop()) {
        auto file = std::make_unique<FaultyFile>(content_, unit);
        file_ = file.get();
        image_ = std::make_unique<DiskImage>(*loop_, std::move(file), kDiskSize, DiskMode::kReadWrite, unit);
    }

    Submitted& submit(DiskAction action, uint64_t offset, uint64_t size, uint8_t fill = 0) {
        history_.push_back(std::make_unique<Submitted>(Submitted{action, offset, size, {}}));
        Submitted& entry = *history_.back();
        if (action == DiskAction::kWrite) entry.data.assign(size, fill);
        DiskRequest request{.action = action, .offset = offset, .size = size, .data = entry.data, .done = {}};
        request.done = [&entry](DiskStatus status, Bytes data) {
            EXPECT_FALSE(entry.ended);
            entry.ended = true;
            entry.status = status;
            if (entry.action == DiskAction::kRead) entry.data = std::move(data);
        };
        image_->submit(std::move(request));
        return entry;
    }

    void run_loop() { run_for(*loop_, kNsPerMs); }

    Bytes content_;
    std::unique_ptr<EventLoop> loop_;
    FaultyFile* file_;
    std::unique_ptr<DiskImage> image_;
    std::vector<std::unique_ptr<Submitted>> history_;
};

/// The disk as the order of submission would have it; bytes of a write that failed are unknown.
class Model {
  public:
    Model() : bytes_(kDiskSize), known_(kDiskSize, true) {}

    void apply(const Submitted& entry) {
        for (uint64_t i = 0; i < entry.data.size(); i++) {
            uint64_t at = entry.offset + i;
            if (entry.action == DiskAction::kWrite) {
                known_[at] = entry.status == DiskStatus::kOk;
                bytes_[at] = entry.data[i];
            } else if (known_[at]) {
                ASSERT_EQ(entry.data[i], bytes_[at]) << "read of byte " << at;
            }
        }
    }
    void compare(const Bytes& content) const {
        for (uint64_t at = 0; at < kDiskSize; at++) {
            ASSERT_TRUE(!known_[at] || content[at] == bytes_[at]) << "final content of byte " << at;
        }
    }

  private:
    Bytes bytes_;
    std::vector<bool> known_;
};

/// A file that takes anything, and direct I/O on storage with units of one sector and of eight.
constexpr uint64_t kUnits[] = {1, kSectorSize, 4096};

class DiskOrderBySeed : public DiskOrder, public testing::WithParamInterface<uint32_t> {
  protected:
    DiskOrderBySeed() : DiskOrder(unit()) {}

    static uint64_t unit() { return kUnits[GetParam() % std::size(kUnits)]; }
    uint64_t pick(uint64_t below) { return random_() % below; }

    void submit_any() {
        uint64_t sectors = 1 + pick(6);
        uint64_t offset = pick(64 - sectors) * kSectorSize;
        uint64_t kind = pick(10);
        if (kind == 0)
            submit(DiskAction::kFlush, 0, 0);
        else
            submit(kind < 5 ? DiskAction::kRead : DiskAction::kWrite, offset, sectors * kSectorSize,
                   static_cast<uint8_t>(random_()));
    }
    void complete_any() {
        size_t index = pick(file_->operations.size());
        switch (pick(8)) {
            case 0:
                return file_->complete(index, EIO, 0);
            case 1:
                return file_->complete(index, EINTR, 0);
            case 2:
                return file_->complete(index, 0, (1 + pick(kSectorSize)) * unit());
            default:
                return file_->complete(index);
        }
    }

    std::mt19937 random_{GetParam()};
};

TEST_P(DiskOrderBySeed, OverlappingRequestsTakeEffectInTheOrderOfSubmission) {
    for (int step = 0; step < 3000; step++) {
        if (file_->operations.empty() || (history_.size() < 1000 && pick(2)))
            submit_any();
        else
            complete_any();
    }
    while (!file_->operations.empty()) complete_any();
    EXPECT_EQ(image_->in_flight(), 0u);
    EXPECT_GT(file_->writes_beside_sync, 0u) << "later writes need not wait for a flush";
    Model model;
    int failures = 0;
    for (const auto& entry : history_) {
        ASSERT_TRUE(entry->ended);
        failures += entry->status != DiskStatus::kOk;
        model.apply(*entry);
    }
    model.compare(content_);
    EXPECT_GT(failures, 0) << "the faults were not exercised";
}

INSTANTIATE_TEST_SUITE_P(Seeds, DiskOrderBySeed, testing::Range(1u, 61u));

TEST_F(DiskOrder, RequestsThatDoNotTouchAreIssuedAtOnce) {
    for (uint64_t i = 0; i < 16; i++) submit(DiskAction::kWrite, i * kSectorSize, kSectorSize, 1);
    EXPECT_EQ(file_->operations.size(), 16u);
    submit(DiskAction::kRead, 0, kSectorSize);
    EXPECT_EQ(file_->operations.size(), 16u);
}

TEST_F(DiskOrder, AFlushFollowsTheWritesBeforeIt) {
    submit(DiskAction::kWrite, 0, kSectorSize, 1);
    Submitted& flush = submit(DiskAction::kFlush, 0, 0);
    EXPECT_EQ(file_->operations.size(), 1u);
    file_->complete(0);
    ASSERT_EQ(file_->operations.size(), 1u);
    EXPECT_EQ(file_->operations[0].kind, BlockIo::Kind::kSync);
    EXPECT_EQ(file_->writes_beside_sync, 0u);
    file_->complete(0);
    EXPECT_TRUE(flush.ended);
}

TEST_F(DiskOrder, ErrorsBecomeStatuses) {
    Submitted& full = submit(DiskAction::kWrite, 0, kSectorSize);
    file_->complete(0, ENOSPC, 0);
    EXPECT_EQ(full.status, DiskStatus::kNoSpace);
    Submitted& broken = submit(DiskAction::kRead, 0, kSectorSize);
    file_->complete(0, EIO, 0);
    EXPECT_EQ(broken.status, DiskStatus::kIoError);
    EXPECT_TRUE(broken.data.empty());
    Submitted& cut = submit(DiskAction::kRead, 0, kSectorSize);
    file_->complete(0, 0, 0);  // the end of the file
    EXPECT_EQ(cut.status, DiskStatus::kIoError);
    Submitted& flush = submit(DiskAction::kFlush, 0, 0);
    file_->complete(0, EIO, 0);
    EXPECT_EQ(flush.status, DiskStatus::kIoError);
    EXPECT_EQ(image_->counters().errors, 4u);
}

TEST_F(DiskOrder, RequestsOutsideTheDiskAreRefused) {
    Submitted& beyond = submit(DiskAction::kRead, kDiskSize, kSectorSize);
    Submitted& across = submit(DiskAction::kWrite, kDiskSize - kSectorSize, 2 * kSectorSize);
    Submitted& wrapping = submit(DiskAction::kRead, ~uint64_t{0} - 100, kSectorSize);
    Submitted& huge = submit(DiskAction::kRead, 0, ~uint64_t{0});
    EXPECT_FALSE(beyond.ended) << "never from within submit()";
    run_loop();
    for (const Submitted* entry : {&beyond, &across, &wrapping, &huge}) {
        EXPECT_TRUE(entry->ended);
        EXPECT_EQ(entry->status, DiskStatus::kOutOfRange);
    }
    EXPECT_TRUE(file_->operations.empty());
}

TEST_F(DiskOrder, NothingIsIssuedAfterTheFence) {
    Submitted& issued = submit(DiskAction::kWrite, 0, kSectorSize, 1);
    Submitted& waiting = submit(DiskAction::kWrite, 0, kSectorSize, 2);
    Submitted& waiting_flush = submit(DiskAction::kFlush, 0, 0);
    image_->stop_issuing();
    Submitted& later = submit(DiskAction::kWrite, 4096, kSectorSize, 3);
    run_loop();
    EXPECT_EQ(image_->in_flight(), 1u);
    EXPECT_FALSE(issued.ended);
    for (const Submitted* entry : {&waiting, &waiting_flush, &later}) {
        EXPECT_TRUE(entry->ended);
        EXPECT_EQ(entry->status, DiskStatus::kStopped);
    }
    file_->complete(0);
    run_loop();
    EXPECT_EQ(image_->in_flight(), 0u);
    EXPECT_EQ(issued.status, DiskStatus::kOk);
    EXPECT_EQ(file_->writes_issued, 1u);
}

TEST_F(DiskOrder, TheRestOfAShortWriteIsNotIssuedAfterTheFence) {
    Submitted& entry = submit(DiskAction::kWrite, 0, 2 * kSectorSize, 1);
    image_->stop_issuing();
    file_->complete(0, 0, kSectorSize);
    EXPECT_EQ(entry.status, DiskStatus::kStopped);
    EXPECT_EQ(file_->writes_issued, 1u);
}

TEST_F(DiskOrder, TheWriteGateIsAskedAtTheLastMoment) {
    bool open = true;
    image_->set_write_gate([&](LogPos) { return open; });
    submit(DiskAction::kWrite, 0, kSectorSize, 1);
    Submitted& second = submit(DiskAction::kWrite, 0, kSectorSize, 2);
    open = false;
    file_->complete(0);
    EXPECT_EQ(file_->writes_issued, 1u) << "the gate had closed while the second write waited";
    Submitted& third = submit(DiskAction::kWrite, 0, kSectorSize, 3);
    Submitted& elsewhere = submit(DiskAction::kWrite, 4096, kSectorSize, 4);
    Submitted& read = submit(DiskAction::kRead, 8192, kSectorSize);
    EXPECT_EQ(file_->operations.size(), 1u) << "reads pass the gate";
    image_->issue_kept();
    EXPECT_EQ(file_->writes_issued, 1u);
    open = true;
    submit(DiskAction::kWrite, 12288, kSectorSize, 5);
    ASSERT_EQ(file_->operations.size(), 4u) << "all that was kept, but for the overlapping third";
    EXPECT_EQ(file_->operations[1].offset, 0u) << "the oldest goes first";
    EXPECT_EQ(file_->operations[3].offset, 12288u);
    while (!file_->operations.empty()) file_->complete(0);
    for (const Submitted* entry : {&second, &third, &elsewhere, &read}) EXPECT_TRUE(entry->ended);
    EXPECT_EQ(content_[0], 3);
    EXPECT_EQ(content_[4096], 4);
}

TEST_F(DiskOrder, AWriteIsAskedForAfterTheRoundAndTheFullRing) {
    bool open = true;
    image_->set_write_gate([&](LogPos) { return open; });
    file_->takes_at_once = false;
    Submitted& write = submit(DiskAction::kWrite, 0, kSectorSize, 1);
    Submitted& read = submit(DiskAction::kRead, 4096, kSectorSize);
    Submitted& flush = submit(DiskAction::kFlush, 0, 0);
    open = false;  // since it was submitted, before the file has room
    file_->take_all();
    ASSERT_EQ(file_->operations.size(), 1u);
    file_->complete(0);
    EXPECT_TRUE(read.ended);
    EXPECT_EQ(image_->in_flight(), 2u) << "what is refused isn't lost";
    open = true;
    file_->take_all();
    EXPECT_EQ(file_->writes_issued, 1u);
    file_->complete(0);
    file_->take_all();
    file_->complete(0);
    EXPECT_TRUE(write.ended && flush.ended);
    EXPECT_EQ(content_[0], 1);
}

TEST_F(DiskOrder, TheRestOfAShortWriteIsAskedForAgain) {
    bool open = true;
    image_->set_write_gate([&](LogPos) { return open; });
    Submitted& entry = submit(DiskAction::kWrite, 0, 2 * kSectorSize, 1);
    open = false;
    file_->complete(0, 0, kSectorSize);
    EXPECT_EQ(file_->writes_issued, 1u);
    EXPECT_FALSE(entry.ended);
    open = true;
    image_->issue_kept();
    EXPECT_EQ(file_->writes_issued, 2u);
    file_->complete(0);
    EXPECT_EQ(entry.status, DiskStatus::kOk);
}

class DiskInUnits : public DiskOrder {
  protected:
    DiskInUnits() : DiskOrder(4096) {}
};

TEST_F(DiskInUnits, AWriteOfPartOfAUnitLeavesTheRest) {
    std::fill(content_.begin(), content_.end(), uint8_t{9});
    Submitted& write = submit(DiskAction::kWrite, 4096 + 512, 512, 1);
    Submitted& beside = submit(DiskAction::kWrite, 4096 + 1024, 512, 2);
    ASSERT_EQ(file_->operations.size(), 1u) << "the second is of the same unit";
    EXPECT_EQ(file_->operations[0].kind, BlockIo::Kind::kRead);
    while (!file_->operations.empty()) file_->complete(0);
    EXPECT_TRUE(write.ended && beside.ended);
    Bytes wanted(kDiskSize, 9);
    std::fill_n(wanted.begin() + 4096 + 512, 512, uint8_t{1});
    std::fill_n(wanted.begin() + 4096 + 1024, 512, uint8_t{2});
    EXPECT_EQ(content_, wanted);
    EXPECT_EQ(image_->counters().bytes_written, 1024u);
}

TEST_F(DiskInUnits, WholeUnitsAreWrittenWithoutAReadBefore) {
    Submitted& write = submit(DiskAction::kWrite, 4096, 8192, 1);
    ASSERT_EQ(file_->operations.size(), 1u);
    EXPECT_EQ(file_->operations[0].kind, BlockIo::Kind::kWrite);
    file_->complete(0);
    EXPECT_TRUE(write.ended);
}

TEST_F(DiskInUnits, AWriteIsAskedForAgainAfterTheReadOfItsUnit) {
    bool open = true;
    image_->set_write_gate([&](LogPos) { return open; });
    submit(DiskAction::kWrite, 512, 512, 1);
    open = false;
    file_->complete(0);
    EXPECT_EQ(file_->writes_issued, 0u);
    image_->stop_issuing();
    EXPECT_TRUE(file_->operations.empty());
}

TEST_F(DiskOrder, KeptWritesEndWithTheFence) {
    image_->set_write_gate([](LogPos) { return false; });
    Submitted& kept = submit(DiskAction::kWrite, 0, kSectorSize, 1);
    Submitted& behind = submit(DiskAction::kWrite, 0, kSectorSize, 2);
    image_->stop_issuing();
    run_loop();
    EXPECT_EQ(kept.status, DiskStatus::kStopped);
    EXPECT_EQ(behind.status, DiskStatus::kStopped);
    EXPECT_EQ(image_->in_flight(), 0u);
    EXPECT_EQ(file_->writes_issued, 0u);
}

TEST_F(DiskOrder, ACallbackMayDestroyTheImage) {
    DiskRequest request{.action = DiskAction::kFlush, .offset = 0, .size = 0, .data = {}, .done = {}};
    request.done = [this](DiskStatus, const Bytes&) { image_.reset(); };
    image_->submit(std::move(request));
    file_->complete(0);
    EXPECT_EQ(image_, nullptr);
}

}  // namespace
}  // namespace lockstep::host
