// SPDX-License-Identifier: Apache-2.0
#include "record/entry_codec.h"

#include <gtest/gtest.h>

#include "record/describe.h"
#include "record/entry_table.h"
#include "record/payloads.h"
#include "sample_log.h"

namespace lockstep::record {
namespace {

Bytes encode_all(const std::vector<Entry>& entries) {
    Bytes body;
    ByteWriter out(body);
    Icount previous;
    for (const Entry& entry : entries) {
        size_t before = body.size();
        encode_entry(out, entry, previous);
        EXPECT_EQ(body.size() - before, encoded_size(entry, previous));
        previous = entry.icount;
    }
    return body;
}

TEST(EntryCodec, EveryKindOfTheTableComesBackWithAnyPayload) {
    for (uint64_t seed = 0; seed < 200; ++seed) {
        SCOPED_TRACE(fmt::format("seed {}", seed));
        SeededRandom random(seed);
        std::vector<Entry> entries;
        Icount icount;
        for (EntryKind kind : entry_kinds()) {
            uint64_t step = random.number() >> 8;
            icount += step;
            entries.push_back(
                {kind, icount, static_cast<uint16_t>(random.number()), random.bytes(random.below(300))});
        }
        auto decoded = decode_entries(encode_all(entries), static_cast<uint32_t>(entries.size()), Icount(0));
        ASSERT_TRUE(decoded) << decoded.error().message();
        EXPECT_EQ(decoded.value(), entries);
    }
}

TEST(EntryCodec, ExtremesComeBack) {
    std::vector<Entry> entries = {
        {EntryKind::kOutput, Icount(0), 0, {}},
        {EntryKind::kOutput, Icount(~uint64_t{0}), 0xffff, {}},
        {EntryKind::kDiskCompletion, Icount(~uint64_t{0}), 1, Bytes(kMaxPayload, 7)}};
    auto decoded = decode_entries(encode_all(entries), 3, Icount(0));
    ASSERT_TRUE(decoded) << decoded.error().message();
    EXPECT_EQ(decoded.value(), entries);
}

TEST(EntryCodec, AnEntryOfAnIdleGuestIsSmall) {
    // 4 ms of guest time skipped after 20,000 instructions: what an idle guest logs some 250 times a second.
    Entry idle = make_entry(Icount(5'000'020'000), 0, TimeAdvance{4'000'000});
    EXPECT_LE(encoded_size(idle, Icount(5'000'000'000)), 12u);
    // The first of a frame carries its whole icount.
    EXPECT_LE(encoded_size(idle, Icount(0)), 14u);
    Entry output = make_entry(Icount(5'000'020'000), 3, OutputMark{100'000});
    EXPECT_LE(encoded_size(output, Icount(5'000'000'000)), 10u);
}

TEST(EntryCodec, RefusesEveryTruncation) {
    SeededRandom random(1);
    std::vector<Entry> entries = sample_entries(random, 30);
    Bytes body = encode_all(entries);
    for (size_t size = 0; size < body.size(); ++size) {
        auto decoded = decode_entries(ByteSpan(body).first(size), 30, Icount(0));
        EXPECT_FALSE(decoded) << size;
    }
}

TEST(EntryCodec, RefusesWhatAWriterNeverMakes) {
    auto reason = [](const Bytes& body, uint32_t count, Icount least = Icount(0)) {
        auto decoded = decode_entries(body, count, least);
        return decoded ? std::string() : decoded.error().message();
    };
    uint8_t kind = static_cast<uint8_t>(EntryKind::kOutput);
    EXPECT_EQ(reason({kind, 1, 0, 0}, 1), "");
    EXPECT_EQ(reason({200, 1, 0, 0}, 1), "entry kind 200 is unknown to this format version");
    EXPECT_EQ(reason({kind, 1, 0, 0}, 1, Icount(2)), "an entry's icount goes backwards");
    EXPECT_EQ(reason({kind, 1, 0x80, 0x80, 0x04, 0}, 1), "device number 65536 is out of range");
    EXPECT_EQ(reason({kind, 1, 0, 0, 9}, 1), "1 bytes follow the last entry of a frame");
    EXPECT_EQ(reason({kind, 1, 0, 0}, 2), "2 entries do not fit a body of 4 bytes");
    EXPECT_EQ(reason({kind, 1, 0, 5}, 1), "an entry goes past the end of its frame");
}

TEST(EntryCodec, RandomBytesNeverCrash) {
    SeededRandom random(7);
    int good = 0;
    for (int i = 0; i < 20'000; ++i) {
        Bytes body = random.bytes(random.below(40));
        if (!body.empty()) body[0] = static_cast<uint8_t>(entry_kinds()[random.below(entry_kinds().size())]);
        auto decoded = decode_entries(body, static_cast<uint32_t>(random.below(4)), Icount(random.below(3)));
        if (!decoded) {
            EXPECT_FALSE(decoded.error().message().empty());
            continue;
        }
        for (const Entry& entry : decoded.value()) EXPECT_FALSE(describe_payload(entry).empty());
        ++good;
    }
    EXPECT_GT(good, 0);
}

TEST(EntryTable, NamesAndNumbersAreDistinct) {
    std::set<std::string_view> names;
    std::set<uint8_t> numbers;
    for (EntryKind kind : entry_kinds()) {
        names.insert(entry_name(kind));
        numbers.insert(static_cast<uint8_t>(kind));
        EXPECT_TRUE(is_entry_kind(static_cast<uint8_t>(kind)));
    }
    EXPECT_EQ(names.size(), entry_kinds().size());
    EXPECT_EQ(numbers.size(), entry_kinds().size());
    EXPECT_FALSE(is_entry_kind(0));
    EXPECT_FALSE(is_entry_kind(255));
    EXPECT_EQ(entry_class(EntryKind::kNetworkReceive), EntryClass::kInput);
    EXPECT_EQ(entry_class(EntryKind::kOutput), EntryClass::kMark);
}

}  // namespace
}  // namespace lockstep::record
