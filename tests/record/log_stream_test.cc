// SPDX-License-Identifier: Apache-2.0
#include "record/log_stream.h"

#include <gtest/gtest.h>

#include "record/entry_table.h"
#include "sample_log.h"

namespace lockstep::record {
namespace {

struct ReadBack {
    std::vector<StartInfo> starts;
    Bytes snapshot;
    std::vector<Entry> entries;
    std::string error;
};

/// Feeds the bytes in pieces of `step` and ends the stream.
ReadBack read_log(ByteSpan bytes, size_t step, std::optional<Identity> ours = std::nullopt) {
    ReadBack read;
    LogReader reader(std::move(ours));
    while (true) {
        auto frame = reader.next();
        if (!frame) {
            read.error = frame.error().message();
            return read;
        }
        if (frame.value()) {
            auto& content = frame.value()->content;
            if (auto* start = std::get_if<StartInfo>(&content)) read.starts.push_back(*start);
            if (auto* piece = std::get_if<SnapshotPiece>(&content)) {
                read.snapshot.insert(read.snapshot.end(), piece->bytes.begin(), piece->bytes.end());
            }
            if (auto* batch = std::get_if<EntryBatch>(&content)) {
                EXPECT_EQ(batch->first.value(), read.entries.size());
                read.entries.insert(read.entries.end(), batch->entries.begin(), batch->entries.end());
            }
            continue;
        }
        if (bytes.empty()) break;
        size_t size = std::min(step, bytes.size());
        reader.feed(bytes.first(size));
        bytes = bytes.subspan(size);
    }
    auto finished = reader.finish();
    if (!finished) read.error = finished.error().message();
    return read;
}

TEST(LogStream, ComesBackHoweverItIsCutIntoFramesAndPieces) {
    for (uint64_t seed = 0; seed < 40; ++seed) {
        SCOPED_TRACE(fmt::format("seed {}", seed));
        SeededRandom random(seed);
        StartInfo start = sample_start(random.below(2) ? Origin::kSnapshot : Origin::kFreshBoot);
        Bytes snapshot = random.bytes(random.below(5000));
        std::vector<Entry> entries = sample_entries(random, random.below(200), start.first_icount);
        Compression compression = random.below(2) ? Compression::kZstd : Compression::kNone;
        CollectingSink sink = write_log(start, snapshot, entries, random.below(40) + 1, compression);
        EXPECT_EQ(sink.after.value(), entries.size());
        ReadBack read = read_log(sink.bytes, random.below(500) + 1);
        EXPECT_EQ(read.error, "");
        ASSERT_EQ(read.starts.size(), 1u);
        EXPECT_EQ(read.starts[0], start);
        EXPECT_EQ(read.snapshot, start.origin == Origin::kSnapshot ? snapshot : Bytes());
        EXPECT_EQ(read.entries, entries);
    }
}

TEST(LogStream, ASnapshotOfSeveralPiecesIsCompressed) {
    Bytes snapshot(3'500'000, 0);
    for (size_t i = 0; i < snapshot.size(); i += 4096) snapshot[i] = static_cast<uint8_t>(i >> 12);
    CollectingSink sink = write_log(sample_start(Origin::kSnapshot), snapshot, {}, 1, Compression::kZstd);
    EXPECT_EQ(sink.ends.size(), 1 + 4 + 1u);
    EXPECT_LT(sink.bytes.size(), snapshot.size() / 100);
    ReadBack read = read_log(sink.bytes, 100'000);
    EXPECT_EQ(read.error, "");
    EXPECT_EQ(read.snapshot, snapshot);
}

TEST(LogStream, WhatDoesNotShrinkIsStoredPlain) {
    SeededRandom random(3);
    std::vector<Entry> entries;
    for (int i = 0; i < 50; ++i)
        entries.push_back({EntryKind::kDiskCompletion, Icount(i), 1, random.bytes(4096)});
    CollectingSink plain = write_log(sample_start(), {}, entries, 5, Compression::kNone);
    CollectingSink tried = write_log(sample_start(), {}, entries, 5, Compression::kZstd);
    EXPECT_EQ(plain.bytes, tried.bytes);
}

TEST(LogStream, CompressionIsTriedAgainAfterBodiesThatDidNotShrink) {
    SeededRandom random(4);
    std::vector<Entry> entries;
    for (int i = 0; i < 20; ++i)
        entries.push_back({EntryKind::kDiskCompletion, Icount(i), 1, random.bytes(1000)});
    for (int i = 0; i < 500; ++i)
        entries.push_back({EntryKind::kDiskCompletion, Icount(20), 1, Bytes(1000, 5)});
    CollectingSink sink = write_log(sample_start(), {}, entries, 1, Compression::kZstd);
    EXPECT_LT(sink.bytes.size(), 20 * 1100 + 100 * 1100 + 400 * 100u);
    EXPECT_EQ(read_log(sink.bytes, 999).entries, entries);
}

TEST(LogStream, AppendTellsThePositionBehindTheEntryAndFlushesFullBatches) {
    CollectingSink sink;
    LogWriterOptions options;
    options.batch_bytes = 100;
    LogWriter writer(sink, options, LogPos(1000));
    writer.start(sample_start());
    EXPECT_EQ(sink.ends.size(), 1u);
    Entry entry{EntryKind::kConsoleInput, Icount(5), 2, Bytes(40)};
    EXPECT_EQ(writer.append(entry), LogPos(1001));
    EXPECT_EQ(writer.append(entry), LogPos(1002));
    EXPECT_EQ(writer.flushed(), LogPos(1000));
    EXPECT_EQ(writer.append(entry), LogPos(1003));
    EXPECT_EQ(writer.flushed(), LogPos(1003));
    EXPECT_EQ(sink.ends.size(), 2u);
    writer.flush();
    EXPECT_EQ(sink.ends.size(), 2u);
    EXPECT_EQ(sink.after, LogPos(1003));

    LogReader reader;
    reader.feed(sink.bytes);
    ASSERT_TRUE(reader.next().value());
    EXPECT_EQ(reader.position(), LogPos(1000));
    ASSERT_TRUE(reader.next().value());
    EXPECT_EQ(reader.position(), LogPos(1003));
    EXPECT_FALSE(reader.next().value());
    EXPECT_EQ(reader.state(), LogState::kEntries);
}

TEST(LogStream, TheSameEntriesGiveTheSameBytes) {
    auto bytes_of_run = [] {
        SeededRandom random(9);
        return write_log(sample_start(), {}, sample_entries(random, 300), 17, Compression::kZstd).bytes;
    };
    EXPECT_EQ(bytes_of_run(), bytes_of_run());
}

TEST(LogStream, RefusesALogOfAnotherBuildOrProcessor) {
    StartInfo start = sample_start();
    CollectingSink sink = write_log(start, {}, {}, 1, Compression::kZstd);
    EXPECT_EQ(read_log(sink.bytes, 64, Identity{start.build, start.cpu}).error, "");

    Identity other_build{BuildIdentity::of_sources("0.2.0", "fff"), start.cpu};
    EXPECT_EQ(read_log(sink.bytes, 64, other_build).error,
              "at byte 0, log position 0: the builds of Lockstep differ: 0.1.0 (abc1234) there, 0.2.0 (fff) "
              "here; use "
              "the same executable on both sides");
    other_build.builds = BuildRule::kAny;
    EXPECT_EQ(read_log(sink.bytes, 64, other_build).error, "");

    Identity other_cpu{start.build, start.cpu, BuildRule::kAny};
    other_cpu.cpu.vendor = "GenuineIntel";
    std::string reason = read_log(sink.bytes, 64, other_cpu).error;
    EXPECT_NE(reason.find("the processors are not compatible"), std::string::npos) << reason;
    EXPECT_NE(reason.find("'AuthenticAMD' there, 'GenuineIntel' here"), std::string::npos) << reason;
}

TEST(LogStream, RefusesFramesThatAreMissingOrOutOfOrder) {
    SeededRandom random(5);
    CollectingSink sink = write_log(sample_start(), {}, sample_entries(random, 30), 10, Compression::kNone);
    ASSERT_EQ(sink.ends.size(), 5u);
    auto frame = [&](size_t number) {
        size_t begin = number ? sink.ends[number - 1] : 0;
        return ByteSpan(sink.bytes).subspan(begin, sink.ends[number] - begin);
    };
    auto reason = [&](std::initializer_list<size_t> numbers) {
        Bytes bytes;
        for (size_t number : numbers) bytes.insert(bytes.end(), frame(number).begin(), frame(number).end());
        return read_log(bytes, 1000).error;
    };
    auto expect = [&](std::initializer_list<size_t> numbers, std::string_view part) {
        std::string text = reason(numbers);
        EXPECT_NE(text.find(part), std::string::npos) << "got: " << text;
    };
    EXPECT_EQ(reason({0, 1, 2, 3, 4}), "");
    expect({1, 2, 3, 4}, "a frame of kind Entries stands where a start frame belongs");
    expect({0, 2, 3, 4},
           "log position 0: frames are missing or out of order: this one begins at log position 10");
    expect({0, 1, 3, 4}, "frames are missing or out of order");
    expect({0, 1, 2, 2, 3, 4}, "frames are missing or out of order");
    expect({0, 1, 2, 4}, "frames are missing or out of order");
    expect({0, 0, 1, 2, 3, 4}, "a frame of kind Start stands where an entries frame or the end belongs");
    expect({0, 1, 2, 3, 4, 4}, "bytes follow the end of the log");
    expect({0, 1, 2, 3}, "the log is cut off");
    expect({}, "the log is empty");
}

TEST(LogStream, RefusesASnapshotWithAMissingPiece) {
    CollectingSink sink =
        write_log(sample_start(Origin::kSnapshot), Bytes(2'500'000), {}, 1, Compression::kZstd);
    ASSERT_EQ(sink.ends.size(), 5u);
    Bytes bytes(sink.bytes.begin(), sink.bytes.begin() + static_cast<ptrdiff_t>(sink.ends[1]));
    bytes.insert(bytes.end(), sink.bytes.begin() + static_cast<ptrdiff_t>(sink.ends[2]), sink.bytes.end());
    std::string reason = read_log(bytes, 1000).error;
    EXPECT_NE(reason.find("a piece of the snapshot is missing"), std::string::npos) << reason;
}

TEST(LogStream, AnErrorStays) {
    LogReader reader;
    Bytes rubbish(100, 'x');
    reader.feed(rubbish);
    auto first = reader.next();
    ASSERT_FALSE(first);
    reader.feed(write_log(sample_start(), {}, {}, 1, Compression::kNone).bytes);
    auto second = reader.next();
    ASSERT_FALSE(second);
    EXPECT_EQ(first.error().message(), second.error().message());
    EXPECT_FALSE(reader.finish());
}

TEST(LogStreamDeathTest, TheWriterKeepsTheOrder) {
    CollectingSink sink;
    LogWriter writer(sink);
    EXPECT_DEATH(writer.append({EntryKind::kOutput, Icount(1), 0, {}}), "expects a start frame");
    writer.start(sample_start());
    EXPECT_DEATH(writer.start(sample_start()), "a Start frame where");
    EXPECT_DEATH(writer.snapshot({}), "a Snapshot frame where");
    writer.append({EntryKind::kOutput, Icount(5), 0, {}});
    EXPECT_DEATH(writer.append({EntryKind::kOutput, Icount(4), 0, {}}), "icount 4 after 5");
    writer.end();
    EXPECT_DEATH(writer.end(), "expects nothing more");
}

}  // namespace
}  // namespace lockstep::record
