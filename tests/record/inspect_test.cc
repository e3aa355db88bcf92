// SPDX-License-Identifier: Apache-2.0
#include "record/inspect.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "record/describe.h"
#include "record/entry_table.h"
#include "record/payloads.h"
#include "sample_log.h"

namespace lockstep::record {
namespace {

LogCursor cursor(const Bytes& bytes, std::string name = "a.log") {
    return {std::move(name), bytes_source(bytes)};
}

Bytes log_of(const std::vector<Entry>& entries, size_t per_frame = 2) {
    return write_log(sample_start(), {}, entries, per_frame, Compression::kNone).bytes;
}

/// A little recording: two seconds of guest time.
std::vector<Entry> two_seconds() {
    return {
        make_entry(Icount(500'000'000), 3, ConsoleInput{{'l', 's', '\n'}}),
        make_entry(Icount(500'000'000), 0, TimeRate{uint64_t{1} << 31}),
        make_entry(Icount(1'500'000'000), 0, TimeAdvance{1'000'000'000}),
        make_entry(Icount(1'500'000'000), 0, StateHashMark{1, 2, true, 3}),
        make_entry(Icount(1'500'000'000), 0, EndMark{EndReason::kPowerOff, ""}),
    };
}

bool has(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

TEST(Describe, EveryKindOfTheTableIsDecoded) {
    SeededRandom random(2);
    for (EntryKind kind : entry_kinds()) {
        Entry entry = sample_entry(random, kind, Icount(9));
        EXPECT_EQ(malformed_payload(entry), "") << entry_name(kind);
        std::string line = describe_entry(LogPos(4), entry);
        EXPECT_TRUE(has(line, entry_name(kind))) << line;
        entry.payload.push_back(0);
        EXPECT_NE(malformed_payload(entry), "") << entry_name(kind);
        EXPECT_TRUE(has(describe_payload(entry), "malformed: ")) << entry_name(kind);
    }
}

TEST(Describe, PayloadsAreShownByName) {
    auto text = [](const auto& payload) { return describe_payload(make_entry(Icount(1), 1, payload)); };
    EXPECT_EQ(text(ConsoleInput{{'h', 'i', '\n', '"'}}), "\"hi\\x0a\\x22\"");
    EXPECT_EQ(text(TimeRate{uint64_t{1} << 31}), "0.500000 ns an instruction");
    EXPECT_EQ(text(TimeAdvance{42}), "by 42 ns");
    EXPECT_EQ(text(DiskCompletion{7, DiskStatus::kIoError, {}}), "request 7, I/O error");
    EXPECT_EQ(text(PowerControl{PowerAction::kReset}), "reset");
    EXPECT_EQ(text(OutputMark{12}), "output 12");
    EXPECT_EQ(text(StateHashMark{1, 2, false, 0}), "registers 0000000000000001, devices 0000000000000002");
    EXPECT_EQ(text(EndMark{EndReason::kFailure, "disk gone"}), "failure: disk gone");
}

TEST(Inspect, TheSummaryCountsByKindAndByGuestSecond) {
    Bytes bytes = log_of(two_seconds());
    LogCursor log = cursor(bytes);
    Inspection summary = summarise(log, 4.0);
    EXPECT_EQ(summary.problem, "");
    EXPECT_TRUE(has(summary.text, "recorded by    0.1.0 (abc1234)")) << summary.text;
    EXPECT_TRUE(has(summary.text, "at power-on at icount 0, log position 0")) << summary.text;
    EXPECT_TRUE(has(summary.text, "entries        5, icount 500000000 to 1500000000")) << summary.text;
    EXPECT_TRUE(has(summary.text, "guest time     2.000000 s")) << summary.text;
    EXPECT_TRUE(has(summary.text, fmt::format("whole log      {} bytes", bytes.size()))) << summary.text;
    EXPECT_TRUE(has(summary.text, "bytes per guest second")) << summary.text;
    EXPECT_TRUE(has(summary.text, "bytes per host second")) << summary.text;
    EXPECT_TRUE(has(summary.text, "ConsoleInput             1")) << summary.text;
    EXPECT_FALSE(has(summary.text, "NetworkReceive")) << summary.text;
}

TEST(Inspect, TheBytesByKindAddUpToTheBodies) {
    SeededRandom random(6);
    std::vector<Entry> entries = sample_entries(random, 100);
    Bytes bytes = log_of(entries, 7);
    LogCursor log = cursor(bytes);
    Inspection summary = summarise(log);
    uint64_t bodies = 0, kinds = 0;
    for (size_t i = 0; i < entries.size(); ++i) {
        bodies += encoded_size(entries[i], i % 7 ? entries[i - 1].icount : Icount(0));
    }
    EXPECT_TRUE(has(summary.text, fmt::format("{} bytes of entries stored in", bodies))) << summary.text;
    for (EntryKind kind : entry_kinds()) {
        size_t at = summary.text.find('\n' + std::string(entry_name(kind)) + ' ');
        ASSERT_NE(at, std::string::npos) << entry_name(kind);
        unsigned long long number = 0, kind_bytes = 0;
        ASSERT_EQ(sscanf(summary.text.c_str() + at, "%*s %llu %llu", &number, &kind_bytes), 2);
        kinds += kind_bytes;
    }
    EXPECT_EQ(kinds, bodies);
}

TEST(Inspect, EntriesAreListedByRangeAndKind) {
    Bytes bytes = log_of(two_seconds());
    LogCursor all = cursor(bytes);
    Inspection list = list_entries(all);
    EXPECT_EQ(list.problem, "");
    EXPECT_EQ(std::ranges::count(list.text, '\n'), 5);
    LogCursor some = cursor(bytes);
    EntryRange range;
    range.first = LogPos(1);
    range.most = 2;
    list = list_entries(some, range);
    EXPECT_EQ(std::ranges::count(list.text, '\n'), 2);
    EXPECT_TRUE(has(list.text, "TimeRate")) << list.text;
    EXPECT_TRUE(has(list.text, "TimeAdvance")) << list.text;
    LogCursor hashes = cursor(bytes);
    list = list_state_hashes(hashes);
    EXPECT_EQ(std::ranges::count(list.text, '\n'), 1);
    EXPECT_TRUE(has(list.text, "memory 0000000000000003")) << list.text;
}

TEST(Inspect, VerifyNamesTheFirstFault) {
    Bytes bytes = log_of(two_seconds());
    LogCursor good = cursor(bytes);
    EXPECT_EQ(verify(good).problem, "");
    EXPECT_EQ(cursor(bytes).name(), "a.log");

    Bytes cut(bytes.begin(), bytes.end() - 1);
    LogCursor cut_log = cursor(cut);
    Inspection inspection = verify(cut_log);
    EXPECT_TRUE(has(inspection.problem, "a.log: at byte ")) << inspection.problem;
    EXPECT_TRUE(has(inspection.problem, "the log is cut off")) << inspection.problem;
    EXPECT_TRUE(has(inspection.text, "5 entries are good")) << inspection.text;

    std::vector<Entry> entries = two_seconds();
    entries[2].payload.push_back(1);
    Bytes malformed = log_of(entries);
    LogCursor malformed_log = cursor(malformed);
    EXPECT_TRUE(has(verify(malformed_log).problem, "a.log: log position 2: "));
}

TEST(Inspect, ASummaryOfACutLogShowsItsGoodPart) {
    Bytes bytes = log_of(two_seconds());
    bytes.resize(bytes.size() - kFrameHeaderSize);
    LogCursor log = cursor(bytes);
    Inspection summary = summarise(log);
    EXPECT_TRUE(has(summary.text, "entries        5")) << summary.text;
    EXPECT_TRUE(has(summary.problem, "the log is cut off")) << summary.problem;
    Bytes nothing;
    LogCursor empty = cursor(nothing);
    EXPECT_EQ(summarise(empty).problem, "a.log: the log is empty; record again");
}

TEST(Inspect, AFailingSourceIsAProblem) {
    LogCursor log("gone.log", [](std::span<uint8_t>) -> Result<size_t> { return error("the disk is gone"); });
    EXPECT_EQ(verify(log).problem, "gone.log: the disk is gone");
}

Inspection difference_of(const Bytes& left, const Bytes& right) {
    LogCursor a = cursor(left, "a.log"), b = cursor(right, "b.log");
    return first_difference(a, b);
}

TEST(Inspect, LogsThatSayTheSameHaveNoDifferenceHoweverTheyAreFramed) {
    Inspection same = difference_of(log_of(two_seconds(), 1), log_of(two_seconds(), 5));
    EXPECT_EQ(same.problem, "");
    EXPECT_EQ(same.text, "a.log and b.log say the same\n");
}

TEST(Inspect, TheFirstDifferenceIsShownWithWhatCameBefore) {
    std::vector<Entry> other = two_seconds();
    other[3] = make_entry(other[3].icount, 0, StateHashMark{1, 2, true, 99});
    Inspection found = difference_of(log_of(two_seconds()), log_of(other, 3));
    EXPECT_EQ(found.problem, "a.log and b.log differ from log position 3 on");
    EXPECT_TRUE(has(found.text, "TimeAdvance")) << found.text;
    EXPECT_TRUE(has(found.text, "memory 0000000000000003")) << found.text;
    EXPECT_TRUE(has(found.text, "memory 0000000000000063")) << found.text;
}

TEST(Inspect, AShorterLogAndAnotherMachineAreDifferences) {
    std::vector<Entry> shorter = two_seconds();
    shorter.pop_back();
    Inspection found = difference_of(log_of(two_seconds()), log_of(shorter));
    EXPECT_EQ(found.problem, "a.log and b.log differ from log position 4 on");
    EXPECT_TRUE(has(found.text, "(the log has ended)")) << found.text;

    StartInfo start = sample_start();
    start.configuration.push_back(0);
    Bytes other = write_log(start, {}, two_seconds(), 2, Compression::kNone).bytes;
    EXPECT_EQ(difference_of(log_of(two_seconds()), other).problem,
              "a.log and b.log differ: the machines' configurations differ");
}

}  // namespace
}  // namespace lockstep::record
