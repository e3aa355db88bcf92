// SPDX-License-Identifier: Apache-2.0
#include "devices/virtio/block/block.h"

#include "virtio_driver.h"

namespace lockstep::devices::virtio {

using bus::DiskOperation;
using bus::DiskRequest;
namespace {

constexpr uint64_t kDiskBytes = 1 << 20, kHeader = 0x100000, kData = 0x101000, kStatus = 0x180000;
constexpr uint16_t kDevice = 16;
enum : uint32_t { kIn = 0, kOut = 1, kFlush = 4, kGetId = 8, kDiscard = 11 };

struct BlockTest : testing::Test {
    explicit BlockTest(bool read_only = false) { make({kDiskBytes, read_only, "serial-number"}); }
    void make(BlockConfig config) {
        auto model = std::make_unique<Block>(kDevice, "disk0", config, numbers, sink);
        block = model.get();
        bench = std::make_unique<VirtioBench>(std::move(model));
        bench->start(0);
    }
    void put_header(uint32_t type, uint64_t sector, uint64_t at = kHeader) {
        Bytes header;
        ByteWriter out(header);
        out.fixed(type);
        out.fixed(uint32_t{0});
        out.fixed(sector);
        bench->put(at, header);
    }
    /// Offers a request and notifies; returns its head.
    uint16_t request(uint32_t type, uint64_t sector, std::vector<Buffer> data, uint64_t status_at = kStatus) {
        put_header(type, sector);
        bench->put(status_at, Bytes{0xee});
        data.insert(data.begin(), Buffer{kHeader, 16, false});
        data.push_back({status_at, 1, true});
        uint16_t head = bench->queues[0].add(data);
        bench->notify(0);
        return head;
    }
    DiskRequest sent(size_t index) {
        EXPECT_EQ(sink.outputs.at(index).device, kDevice);
        auto request = std::get<DiskRequest>(sink.outputs.at(index).what);
        EXPECT_TRUE(bus::is_sound(request));
        return request;
    }
    void complete(uint64_t number, record::DiskStatus status = record::DiskStatus::kOk, Bytes data = {}) {
        bench->transport.input(entry(kDevice, record::DiskCompletion{number, status, std::move(data)}));
    }
    uint8_t status(uint64_t at = kStatus) { return bench->get(at, 1)[0]; }
    /// Writes a sector full of `value`, to its end; then the guest uses the memory for something else.
    void write_sector(uint64_t sector, uint8_t value) {
        bench->put(kData, Bytes(512, value));
        request(kOut, sector, {{kData, 512, false}});
        complete(sent(sink.outputs.size() - 1).number);
        bench->put(kData, Bytes(512, 0));
    }
    /// The state of the device when a new guest has written all of these.
    struct Write {
        uint64_t sector;
        uint8_t value;
    };
    Bytes state_after(const std::vector<Write>& writes) {
        make({kDiskBytes, false, ""});
        for (const Write& write : writes) write_sector(write.sector, write.value);
        EXPECT_TRUE(block->unanswered().empty());
        Bytes state;
        ByteWriter out(state);
        block->save(out);
        return state;
    }

    TestSink sink;
    RequestNumbers numbers;
    Block* block = nullptr;
    std::unique_ptr<VirtioBench> bench;
};

TEST_F(BlockTest, ConfigurationTellsTheSize) {
    EXPECT_EQ(bench->read(0x2000, 8), kDiskBytes / 512);
    EXPECT_EQ(bench->read(0x2000 + 20, 4), 512u);
    EXPECT_TRUE(bench->offered_features() & 1 << 9);
    EXPECT_FALSE(bench->offered_features() & 1 << 5);
}

TEST_F(BlockTest, ReadFillsTheBuffersAtItsCompletionOnly) {
    uint16_t head = request(kIn, 2, {{kData, 512, true}, {kData + 0x1000, 512, true}});
    DiskRequest out = sent(0);
    EXPECT_EQ(out.operation, DiskOperation::kRead);
    EXPECT_EQ(out.offset, 1024u);
    EXPECT_EQ(out.size, 1024u);
    EXPECT_EQ(status(), 0xee);
    EXPECT_TRUE(bench->queues[0].take_used().empty());

    Bytes data(1024);
    for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<uint8_t>(i / 3);
    complete(out.number, record::DiskStatus::kOk, data);
    EXPECT_EQ(status(), 0);
    EXPECT_EQ(bench->get(kData, 512), Bytes(data.begin(), data.begin() + 512));
    EXPECT_EQ(bench->get(kData + 0x1000, 512), Bytes(data.begin() + 512, data.end()));
    EXPECT_EQ(bench->queues[0].take_used(), (std::vector<UsedElement>{{head, 1025}}));
    EXPECT_EQ(bench->take_interrupts(0), 1u);
}

TEST_F(BlockTest, WriteCopiesItsDataWhenIssued) {
    bench->put(kData, Bytes(512, 0xab));
    request(kOut, 7, {{kData, 512, false}});
    bench->put(kData, Bytes(512, 0xcd));
    DiskRequest out = sent(0);
    EXPECT_EQ(out.operation, DiskOperation::kWrite);
    EXPECT_EQ(out.offset, 7 * 512u);
    EXPECT_EQ(out.data, Bytes(512, 0xab));
    complete(out.number);
    EXPECT_EQ(status(), 0);
}

TEST_F(BlockTest, FlushGoesToTheHost) {
    request(kFlush, 0, {});
    EXPECT_EQ(sent(0).operation, DiskOperation::kFlush);
    complete(sent(0).number);
    EXPECT_EQ(status(), 0);
}

TEST_F(BlockTest, ErrorsReachTheGuest) {
    request(kIn, 0, {{kData, 512, true}});
    complete(sent(0).number, record::DiskStatus::kIoError);
    EXPECT_EQ(status(), 1);
    request(kFlush, 0, {});
    complete(sent(1).number, record::DiskStatus::kUnsupported);
    EXPECT_EQ(status(), 2);
    request(kIn, 0, {{kData, 512, true}});
    complete(sent(2).number, record::DiskStatus::kOk, Bytes(100));
    EXPECT_EQ(status(), 1) << "too little data";
}

TEST_F(BlockTest, RequestsBeyondTheDiskFailAtOnce) {
    const uint64_t last = kDiskBytes / 512;
    request(kIn, last, {{kData, 512, true}});
    EXPECT_EQ(status(), 1);
    request(kIn, last - 1, {{kData, 1024, true}});
    EXPECT_EQ(status(), 1);
    request(kIn, ~uint64_t{0}, {{kData, 512, true}});
    EXPECT_EQ(status(), 1);
    request(kIn, uint64_t{1} << 55, {{kData, 512, true}});
    EXPECT_EQ(status(), 1);
    request(kIn, 0, {{kData, 511, true}});
    EXPECT_EQ(status(), 1);
    request(kOut, 0, {});
    EXPECT_EQ(status(), 1);
    EXPECT_TRUE(sink.outputs.empty());
    EXPECT_EQ(bench->queues[0].take_used().size(), 6u);
    request(kIn, last - 1, {{kData, 512, true}});
    EXPECT_EQ(sink.outputs.size(), 1u);
}

struct ReadOnlyBlockTest : BlockTest {
    ReadOnlyBlockTest() : BlockTest(true) {}
};

TEST_F(ReadOnlyBlockTest, WritesAreRefused) {
    EXPECT_TRUE(bench->offered_features() & 1 << 5);
    request(kOut, 0, {{kData, 512, false}});
    EXPECT_EQ(status(), 1);
    EXPECT_TRUE(sink.outputs.empty());
}

TEST_F(BlockTest, UnknownRequestsAreUnsupported) {
    request(kDiscard, 0, {{kData, 16, false}});
    EXPECT_EQ(status(), 2);
    request(0x12345678, 0, {});
    EXPECT_EQ(status(), 2);
}

TEST_F(BlockTest, IdIsTheSerial) {
    request(kGetId, 0, {{kData, 20, true}});
    EXPECT_EQ(status(), 0);
    Bytes id = bench->get(kData, 20);
    EXPECT_EQ(std::string(reinterpret_cast<char*>(id.data())), "serial-number");
    request(kGetId, 0, {{kData, 10, true}});
    EXPECT_EQ(status(), 1);
}

TEST_F(BlockTest, CompletionsMayComeInAnyOrder) {
    uint16_t first = request(kIn, 0, {{kData, 512, true}}, kStatus);
    put_header(kIn, 0);
    uint16_t second = request(kIn, 1, {{kData + 0x1000, 512, true}}, kStatus + 1);
    complete(sent(1).number, record::DiskStatus::kOk, Bytes(512, 2));
    EXPECT_EQ(bench->queues[0].take_used(), (std::vector<UsedElement>{{second, 513}}));
    EXPECT_EQ(status(kStatus), 0xee);
    complete(sent(0).number, record::DiskStatus::kOk, Bytes(512, 1));
    EXPECT_EQ(bench->queues[0].take_used(), (std::vector<UsedElement>{{first, 513}}));
    EXPECT_EQ(bench->get(kData, 1)[0], 1);
    EXPECT_EQ(bench->get(kData + 0x1000, 1)[0], 2);
}

TEST_F(BlockTest, UnansweredRequestsSurviveSaveAndLoad) {
    bench->put(kData, Bytes(512, 0x77));
    request(kOut, 3, {{kData, 512, false}});
    request(kIn, 4, {{kData + 0x1000, 512, true}});
    Bytes state = saved(bench->transport);

    auto model = std::make_unique<Block>(kDevice, "disk0", BlockConfig{kDiskBytes, false, ""}, numbers, sink);
    Block& copy = *model;
    TestMessages messages;
    TestLine line;
    PciTransport other(std::move(model), *bench->memory, messages, line, PciPlace{0xc0000000, 16});
    ASSERT_TRUE(loads(other, state));
    auto waiting = copy.unanswered();
    ASSERT_EQ(waiting.size(), 2u);
    EXPECT_EQ(waiting[0].output, sink.outputs[0]);
    EXPECT_EQ(waiting[1].output, sink.outputs[1]);
    other.input(
        entry(kDevice, record::DiskCompletion{sent(1).number, record::DiskStatus::kOk, Bytes(512, 9)}));
    EXPECT_EQ(bench->get(kData + 0x1000, 512), Bytes(512, 9));
    EXPECT_EQ(copy.unanswered().size(), 1u);
}

// The state hash is made of this, and so finds a disk that got something else, though all else is equal again.
TEST_F(BlockTest, TheStateTellsWhatWasWritten) {
    const Bytes state = state_after({{3, 0x11}, {4, 0x22}});
    EXPECT_EQ(state_after({{3, 0x11}, {4, 0x22}}), state);
    EXPECT_NE(state_after({{3, 0x11}, {4, 0x23}}), state) << "other data";
    EXPECT_NE(state_after({{3, 0x11}, {5, 0x22}}), state) << "another place";
    EXPECT_NE(state_after({{4, 0x22}, {3, 0x11}}), state) << "another order";
    EXPECT_NE(state_after({{3, 0x11}, {3, 0x11}, {4, 0x22}}), state) << "once more";
    EXPECT_NE(state_after({{3, 0x12}, {3, 0x11}, {4, 0x22}}), state) << "overwritten since";
}

TEST_F(BlockTest, OnlyWritesThatAreIssuedCountAsWritten) {
    const Bytes before = state_after({{3, 0x11}});
    request(kIn, 3, {{kData, 512, true}});
    complete(sent(sink.outputs.size() - 1).number, record::DiskStatus::kOk, Bytes(512, 0x11));
    request(kFlush, 0, {});
    complete(sent(sink.outputs.size() - 1).number);
    request(kOut, kDiskBytes / 512, {{kData, 512, false}});  // beyond the disk
    Bytes after;
    ByteWriter out(after);
    block->save(out);
    EXPECT_EQ(after, before);
}

TEST_F(BlockTest, WhatWasWrittenIsKnownAfterAReset) {
    write_sector(3, 0x11);
    uint64_t written = block->state().hash_of_writes;
    EXPECT_NE(written, 0u);
    bench->start(0);
    EXPECT_EQ(block->state().hash_of_writes, written);
    write_sector(4, 0x22);
    uint64_t both = block->state().hash_of_writes;
    state_after({{3, 0x11}, {4, 0x22}});
    EXPECT_EQ(block->state().hash_of_writes, both);
}

TEST_F(BlockTest, LateCompletionsAfterAResetAreIgnored) {
    request(kIn, 0, {{kData, 512, true}});
    uint64_t number = sent(0).number;
    bench->start(0);
    EXPECT_TRUE(block->unanswered().empty());
    complete(number, record::DiskStatus::kOk, Bytes(512, 5));
    EXPECT_EQ(bench->get(kData, 1)[0], 0);
    request(kIn, 0, {{kData, 512, true}});
    EXPECT_NE(sent(1).number, number) << "numbers are never used twice";
}

TEST_F(BlockTest, RequestsWithoutStatusOrHeaderStopTheDevice) {
    bench->queues[0].add({{kHeader, 16, false}});
    bench->notify(0);
    EXPECT_EQ(bench->status(), 0x4f);
    bench->start(0);
    bench->queues[0].add({{kHeader, 15, false}, {kStatus, 1, true}});
    bench->notify(0);
    EXPECT_EQ(bench->status(), 0x4f);
    EXPECT_TRUE(sink.outputs.empty());
}

TEST_F(BlockTest, TooLargeRequestsFail) {
    std::vector<Buffer> data;
    for (int i = 0; i < 4; ++i) data.push_back({0, 2 << 20, true});
    put_header(kIn, 0);
    data.insert(data.begin(), Buffer{kHeader, 16, false});
    data.push_back({kStatus, 1, true});
    bench->queues[0].add(data);
    bench->notify(0);
    EXPECT_EQ(status(), 1);
}

TEST(DiskRequests, ConflictsKeepTheirOrder) {
    auto make = [](DiskOperation operation, uint64_t offset, uint64_t size) {
        DiskRequest request;
        request.operation = operation;
        request.offset = offset;
        request.size = size;
        return request;
    };
    auto read = make(DiskOperation::kRead, 0, 1024), write = make(DiskOperation::kWrite, 512, 512);
    EXPECT_TRUE(conflict(read, write));
    EXPECT_TRUE(conflict(write, read));
    EXPECT_TRUE(conflict(write, write));
    EXPECT_FALSE(conflict(read, read));
    EXPECT_FALSE(conflict(write, make(DiskOperation::kRead, 1024, 512)));
    EXPECT_FALSE(conflict(write, make(DiskOperation::kFlush, 0, 0)));
}

}  // namespace
}  // namespace lockstep::devices::virtio
