// SPDX-License-Identifier: Apache-2.0
// Every kind of damage, at every byte of small logs: each is refused with a sentence, none crashes.
#include <gtest/gtest.h>

#include "base/hash.h"
#include "record/log_stream.h"
#include "sample_log.h"

namespace lockstep::record {
namespace {

/// Why a reader refuses the bytes; empty where it takes them.
std::string refusal(ByteSpan bytes) {
    LogReader reader;
    reader.feed(bytes);
    while (true) {
        auto frame = reader.next();
        if (!frame) return frame.error().message();
        if (!frame.value()) break;
    }
    auto finished = reader.finish();
    return finished ? std::string() : finished.error().message();
}

class Damage : public testing::TestWithParam<Compression> {
  protected:
    void SetUp() override {
        SeededRandom random(11);
        log_ = write_log(sample_start(Origin::kSnapshot), Bytes(700, 3),
                         sample_entries(random, 24, sample_start(Origin::kSnapshot).first_icount), 12,
                         GetParam());
        ASSERT_EQ(refusal(log_.bytes), "");
    }
    CollectingSink log_;
};

TEST_P(Damage, EveryTruncationIsRefusedWithItsPlace) {
    for (size_t size = 0; size < log_.bytes.size(); ++size) {
        std::string reason = refusal(ByteSpan(log_.bytes).first(size));
        EXPECT_NE(reason.find(size == 0 ? "the log is empty" : "the log is cut off"), std::string::npos)
            << size << ": " << reason;
    }
}

TEST_P(Damage, EveryFlippedBitIsRefusedAndTheSentenceNamesItsFrame) {
    for (size_t byte = 0; byte < log_.bytes.size(); ++byte) {
        size_t frame = 0;
        while (byte >= log_.ends[frame]) ++frame;
        std::string place = fmt::format("at byte {}, log position", frame ? log_.ends[frame - 1] : 0);
        for (unsigned bit = 0; bit < 8; ++bit) {
            Bytes damaged = log_.bytes;
            damaged[byte] ^= static_cast<uint8_t>(1u << bit);
            std::string reason = refusal(damaged);
            ASSERT_EQ(reason.substr(0, place.size()), place)
                << "byte " << byte << " bit " << bit << ": " << reason;
        }
    }
}

TEST_P(Damage, EveryMissingByteAndEveryByteTooManyIsRefused) {
    for (size_t byte = 0; byte < log_.bytes.size(); ++byte) {
        Bytes shorter = log_.bytes;
        shorter.erase(shorter.begin() + static_cast<ptrdiff_t>(byte));
        EXPECT_NE(refusal(shorter), "") << byte;
        Bytes longer = log_.bytes;
        longer.insert(longer.begin() + static_cast<ptrdiff_t>(byte), uint8_t{0x5a});
        EXPECT_NE(refusal(longer), "") << byte;
    }
    Bytes longer = log_.bytes;
    longer.push_back(0);
    EXPECT_NE(refusal(longer), "");
}

INSTANTIATE_TEST_SUITE_P(Stored, Damage, testing::Values(Compression::kNone, Compression::kZstd),
                         [](const auto& parameter) {
                             return parameter.param == Compression::kNone ? "Plain" : "Compressed";
                         });

/// A header of a good frame, changed and given the right checksum again: what a faulty writer might make.
std::string forged(void (*change)(FrameHeader&)) {
    FrameEncoder encoder(Compression::kNone);
    Bytes body(10);
    ByteSpan bytes = encoder.encode(FrameKind::kEntries, LogPos(0), 1, body);
    ByteReader in(bytes);
    FrameHeader header = FrameHeader::read(in);
    EXPECT_EQ(header.invalid(), "");
    change(header);
    header.checksum = header.right_checksum();
    return header.invalid();
}

TEST(FrameHeader, ForgedHeadersAreRefusedByTheirFields) {
    EXPECT_EQ(forged([](FrameHeader& header) { header.magic ^= 1; }),
              "this is not a Lockstep log (no frame begins here); name a file made by 'record'");
    EXPECT_EQ(forged([](FrameHeader& header) { header.version = 9; }),
              "the log has format version 9 and this build reads version 2; use the build that wrote it");
    EXPECT_EQ(forged([](FrameHeader& header) { header.kind = 77; }),
              "frame kind 77 is unknown to format version 2");
    EXPECT_EQ(forged([](FrameHeader& header) { header.flags = 2; }), "frame flags 0x2 are unknown");
    EXPECT_EQ(forged([](FrameHeader& header) { header.reserved = 1; }),
              "the reserved bytes of a frame's header are not zero");
    EXPECT_EQ(forged([](FrameHeader& header) { header.body_size = header.plain_size = 33u << 20; }),
              "a body of 34603008 bytes is beyond the limit of Entries frames");
    EXPECT_EQ(forged([](FrameHeader& header) { header.plain_size = 11; }), "a plain body has two sizes");
    EXPECT_EQ(forged([](FrameHeader& header) { header.entry_count = 0; }),
              "a frame of kind Entries cannot have 0 entries");
    EXPECT_EQ(forged([](FrameHeader& header) { header.checksum ^= 1; }), "");
}

TEST(FrameHeader, AVersionToComeIsNamedThoughItsChecksumIsUnknown) {
    CollectingSink log = write_log(sample_start(), {}, {}, 1, Compression::kNone);
    log.bytes[4] = 3;
    EXPECT_NE(refusal(log.bytes).find("format version 3 and this build reads version 2"), std::string::npos);
}

TEST(FrameHeader, ACompressedBodyThatDoesNotUnpackIsRefused) {
    Bytes rubbish(100, 0xee);
    FrameHeader header;
    header.flags = kFrameCompressed;
    header.body_size = 100;
    header.plain_size = 1000;
    header.body_checksum = hash64(rubbish);
    auto body = decode_body(header, rubbish);
    ASSERT_FALSE(body);
    EXPECT_EQ(body.error().message(), "a compressed body does not unpack to its size");
}

TEST(FrameHeader, ACompressedBodyOfAnotherSizeIsRefused) {
    FrameEncoder encoder(Compression::kZstd);
    Bytes plain(1000, 7);
    ByteSpan bytes = encoder.encode(FrameKind::kSnapshot, LogPos(0), 0, plain);
    ByteReader in(bytes);
    FrameHeader header = FrameHeader::read(in);
    ASSERT_TRUE(header.flags & kFrameCompressed);
    EXPECT_EQ(decode_body(header, bytes.subspan(kFrameHeaderSize)).value(), plain);
    for (uint32_t size : {0u, 999u, 1001u}) {
        header.plain_size = size;
        EXPECT_FALSE(decode_body(header, bytes.subspan(kFrameHeaderSize))) << size;
    }
}

TEST(LogReader, AnEntryBeforeTheStartIsRefused) {
    StartInfo start = sample_start();
    std::vector<Entry> entries = {{EntryKind::kOutput, Icount(99), 0, {}}};
    Bytes early = write_log(start, {}, entries, 1, Compression::kNone).bytes;
    start.first_icount = Icount(100);
    FrameEncoder encoder(Compression::kNone);
    ByteSpan frame = encoder.encode(FrameKind::kStart, LogPos(0), 0, start.encode());
    Bytes log(frame.begin(), frame.end());
    LogReader reader;
    reader.feed(early);
    ASSERT_TRUE(reader.next());
    log.insert(log.end(), early.begin() + static_cast<ptrdiff_t>(reader.offset()), early.end());
    EXPECT_NE(refusal(log).find("an entry's icount goes backwards"), std::string::npos) << refusal(log);
}

TEST(LogReader, RubbishIsNotALockstepLog) {
    for (uint64_t seed = 0; seed < 500; ++seed) {
        SeededRandom random(seed);
        Bytes rubbish = random.bytes(kFrameHeaderSize + random.below(200));
        EXPECT_NE(refusal(rubbish).find("not a Lockstep log"), std::string::npos) << "seed " << seed;
    }
}

TEST(LogReader, FramesWithGoodChecksumsAndRandomBodiesNeverCrash) {
    for (uint64_t seed = 0; seed < 3000; ++seed) {
        SeededRandom random(seed);
        FrameEncoder encoder(Compression::kNone);
        Bytes log;
        auto add = [&](FrameKind kind, uint32_t count, const Bytes& body) {
            ByteSpan bytes = encoder.encode(kind, LogPos(0), count, body);
            log.insert(log.end(), bytes.begin(), bytes.end());
        };
        StartInfo start = sample_start(random.below(2) ? Origin::kSnapshot : Origin::kFreshBoot);
        bool good_start = random.below(4) != 0;
        add(FrameKind::kStart, 0, good_start ? start.encode() : random.bytes(random.below(60)));
        FrameKind next = start.origin == Origin::kSnapshot ? FrameKind::kSnapshot : FrameKind::kEntries;
        uint32_t count = next == FrameKind::kEntries ? static_cast<uint32_t>(random.below(3)) + 1 : 0;
        add(next, count, random.bytes(random.below(60)));
        EXPECT_NE(refusal(log), "") << "seed " << seed;  // there is no end frame
    }
}

}  // namespace
}  // namespace lockstep::record
