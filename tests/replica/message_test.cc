// SPDX-License-Identifier: Apache-2.0
// The messages: what is written is read back, and anything damaged, foreign or cut is refused with a reason.
#include "replica/message.h"

#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <set>
#include <sstream>

#include "base/hash.h"

namespace lockstep::replica {
namespace {

const Bytes kBytes = {1, 2, 3, 0xff};

/// One of each, with every field set.
std::vector<Message> samples() {
    return {Hello{"shop", "v1", "zen5", 300},
            Welcome{64u << 20, "b:7700"},
            Refuse{"another build"},
            Loaded{LogPos(7)},
            Protect{LogPos(7)},
            Log{LogPos(8), 2, Icount(99), 1, Pieces(kBytes)},
            Ack{LogPos(9), LogPos(8), Icount(98)},
            PrimaryBeat{LogPos(10), Icount(120), LogPos(9)},
            BackupBeat{LogPos(9), LogPos(8), Icount(98), 2},
            Diverged{LogPos(9), Icount(98), 5},
            HandOver{LogPos(12), LogPos(11)},
            Live{LogPos(12)},
            StandDown{"not wanted"},
            Gone{"as you wish"},
            Crashed{},
            CloneStart{1 << 30},
            CloneConfig{kBytes},
            CloneReady{},
            ClonePages{Pieces(kBytes)},
            CloneCut{LogPos(7), Icount(1'000'000'000'000), 4096},
            CloneState{kBytes},
            CloneEnd{},
            Orphans{4, kBytes}};
}

Header header() {
    Header h;
    h.vm = 0x1122334455667788;
    h.term = Term(3);
    h.sender = 11;
    h.receiver = 22;
    h.sent_ms = 123456;
    h.echo_ms = 123400;
    return h;
}

/// Puts a right checksum on bytes that were changed on purpose.
void seal(Bytes& bytes) {
    uint64_t checksum = hash64(ByteSpan(bytes).subspan(8));
    std::memcpy(bytes.data(), &checksum, sizeof checksum);
}

std::string refusal(ByteSpan bytes) {
    Result<Envelope> result = decode(bytes);
    return result ? "" : result.error().message();
}

TEST(Message, TheTableHasASampleOfEachKindAndNoNumberTwice) {
    std::vector<Message> all = samples();
    ASSERT_EQ(all.size(), message_table().size());
    std::set<MessageKind> kinds;
    for (size_t i = 0; i < all.size(); ++i) {
        EXPECT_EQ(all[i].index(), i);
        kinds.insert(info_of(all[i]).kind);
    }
    EXPECT_EQ(kinds.size(), all.size());
    EXPECT_FALSE(kinds.contains(MessageKind{0}));
}

TEST(Message, TheDocumentListsEachOfThem) {
    std::stringstream document;
    document << std::ifstream(LOCKSTEP_SOURCE_FOLDER "/docs/replica-protocol.md").rdbuf();
    for (const MessageInfo& info : message_table()) {
        std::string row =
            fmt::format("| {} | {} | {}", static_cast<int>(info.kind), info.name,
                        info.direction == Direction::kToBackup ? "to the backup" : "to the primary");
        if (info.carrier == Carrier::kDatagram) row += ", datagram";
        EXPECT_NE(document.str().find(row + " |"), std::string::npos) << row;
    }
}

TEST(Message, WhatIsWrittenIsReadBack) {
    for (const Message& message : samples()) {
        Bytes bytes = encode(header(), message);
        Result<Envelope> result = decode(bytes);
        ASSERT_TRUE(result) << describe(message) << ": " << result.error().message();
        EXPECT_TRUE(result.value().message == message) << describe(message);
        const Header& h = result.value().header;
        EXPECT_EQ(h.size, bytes.size());
        EXPECT_EQ(h.vm, header().vm);
        EXPECT_EQ(h.term, Term(3));
        EXPECT_EQ(h.sender, 11u);
        EXPECT_EQ(h.receiver, 22u);
        EXPECT_EQ(h.sent_ms, 123456u);
        EXPECT_EQ(h.echo_ms, 123400u);
    }
}

TEST(Message, EveryDamagedBitIsNoticed) {
    for (const Message& message : samples()) {
        const Bytes good = encode(header(), message);
        for (size_t bit = 0; bit < good.size() * 8; ++bit) {
            Bytes bad = good;
            bad[bit / 8] ^= static_cast<uint8_t>(1u << (bit % 8));
            EXPECT_NE(refusal(bad), "") << describe(message) << ", bit " << bit;
        }
    }
}

TEST(Message, EveryCutIsNoticed) {
    for (const Message& message : samples()) {
        const Bytes good = encode(header(), message);
        for (size_t size = 0; size < good.size(); ++size)
            EXPECT_NE(refusal(ByteSpan(good).first(size)), "")
                << describe(message) << ", " << size << " bytes";
    }
}

TEST(Message, AnotherVersionIsRefusedWithARemedy) {
    Bytes bytes = encode(header(), Protect{LogPos(1)});
    bytes[12] = kProtocolVersion + 1;
    seal(bytes);
    EXPECT_NE(refusal(bytes).find("install the same build on both hosts"), std::string::npos)
        << refusal(bytes);
}

TEST(Message, UnknownKindsReservedBitsAndNamelessSendersAreRefused) {
    Bytes unknown = encode(header(), Protect{LogPos(1)});
    unknown[14] = 200;
    seal(unknown);
    EXPECT_NE(refusal(unknown).find("unknown kind 200"), std::string::npos) << refusal(unknown);

    Bytes reserved = encode(header(), Protect{LogPos(1)});
    reserved[15] = 1;
    seal(reserved);
    EXPECT_NE(refusal(reserved).find("reserved"), std::string::npos) << refusal(reserved);

    Header nobody = header();
    nobody.sender = 0;
    EXPECT_NE(refusal(encode(nobody, Protect{LogPos(1)})).find("without a sender"), std::string::npos);
}

TEST(Message, FieldsMustFillTheMessageExactly) {
    Bytes longer = encode(header(), Protect{LogPos(1)});
    longer.push_back(0);
    uint32_t size = static_cast<uint32_t>(longer.size());
    std::memcpy(longer.data() + 8, &size, sizeof size);
    seal(longer);
    EXPECT_NE(refusal(longer).find("don't fill it exactly"), std::string::npos) << refusal(longer);

    // The one-byte field of Diverged is its last: 300 doesn't fit.
    Bytes wide = encode(header(), Diverged{LogPos(1), Icount(1), 1});
    wide.back() = 0xac;
    wide.push_back(0x02);
    size = static_cast<uint32_t>(wide.size());
    std::memcpy(wide.data() + 8, &size, sizeof size);
    seal(wide);
    EXPECT_NE(refusal(wide).find("don't fill it exactly"), std::string::npos) << refusal(wide);
}

TEST(Message, DescriptionsNameTheFields) {
    EXPECT_EQ(describe(Log{LogPos(8), 2, Icount(99), 1, Pieces(kBytes)}),
              "Log{first=8, count=2, complete=99, ends=1, entries=4 bytes}");
}

TEST(Message, TextOfTheOtherSideComesInCleanAndShort) {
    Header header{.vm = 1, .term = Term(1), .sender = 2, .receiver = 3};
    auto read = [&](const std::string& sentence) {
        Result<Envelope> envelope = decode(encode(header, Refuse{sentence}));
        return envelope ? std::get<Refuse>(envelope.value().message).sentence : envelope.error().message();
    };
    EXPECT_EQ(read("no room\n\x1b[2Jlockstep: all is well"), "no room [2Jlockstep: all is well");
    EXPECT_EQ(read(std::string(100'000, 'x')).size(), 200u);
}

}  // namespace
}  // namespace lockstep::replica
