// SPDX-License-Identifier: Apache-2.0
#include "host/sealed_datagrams.h"

#include <gtest/gtest.h>

#include <set>

#include "support.h"

namespace lockstep::host {
namespace {

constexpr DatagramKey kKey = {1, 2, 3}, kOther = {3, 2, 1};

class SealedDatagrams : public ::testing::Test {
  protected:
    Bytes seal(const std::string& text, Words words = Words::kRunning) {
        return sealer_.seal(to_bytes(text), words);
    }
    std::string open(ByteSpan sealed) {
        std::optional<Bytes> content = opener_.open(sealed);
        return content ? to_text(*content) : "ignored";
    }
    DatagramSealer sealer_{kKey};
    DatagramOpener opener_{kKey};
};

TEST_F(SealedDatagrams, ArriveAsTheyWereAndCanNotBeRead) {
    Bytes sealed = seal("heartbeat");
    EXPECT_EQ(sealed.size(), 9 + kSealSize);
    EXPECT_EQ(to_text(sealed).find("heart"), std::string::npos);
    EXPECT_EQ(open(sealed), "heartbeat");
    EXPECT_EQ(open(seal("")), "");
    EXPECT_EQ(opener_.ignored().forged + opener_.ignored().repeated, 0u);
}

TEST_F(SealedDatagrams, ThatWereChangedAnywhereAreIgnored) {
    Bytes sealed = seal("heartbeat");
    for (size_t bit = 0; bit < 8 * sealed.size(); ++bit) {
        Bytes changed = sealed;
        changed[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
        EXPECT_EQ(open(changed), "ignored") << bit;
    }
    for (size_t size = 0; size < sealed.size(); ++size)
        EXPECT_EQ(open(ByteSpan(sealed).first(size)), "ignored");
    EXPECT_EQ(opener_.ignored().forged, 8 * sealed.size() + sealed.size());
    EXPECT_EQ(open(sealed), "heartbeat") << "the true one counts still";
}

TEST_F(SealedDatagrams, OfAnotherSessionOrSentBackAreForged) {
    DatagramSealer other(kOther);
    EXPECT_EQ(open(other.seal(to_bytes("x"), Words::kRunning)), "ignored");
    EXPECT_EQ(opener_.ignored().forged, 1u);
}

TEST_F(SealedDatagrams, CountOnceInWhateverOrderTheyCome) {
    std::vector<Bytes> sealed;
    for (int i = 0; i < 200; ++i) sealed.push_back(seal(std::to_string(i)));
    for (int i : {0, 2, 1, 60, 5, 59, 150, 100, 199}) {
        EXPECT_EQ(open(sealed[static_cast<size_t>(i)]), std::to_string(i));
        EXPECT_EQ(open(sealed[static_cast<size_t>(i)]), "ignored");
    }
    EXPECT_EQ(open(sealed[135]), "ignored") << "so late that nobody knows whether it came";
    EXPECT_EQ(open(sealed[136]), "136");
    EXPECT_EQ(opener_.ignored().repeated, 10u);
    EXPECT_EQ(opener_.ignored().forged, 0u);
}

/// They are sealed long before they are sent, three times over.
TEST_F(SealedDatagrams, LastWordsAndOrphansCountHoweverOldTheyAre) {
    Bytes last = seal("last", Words::kLast), orphans = seal("orphans", Words::kOrphans);
    for (int i = 0; i < 1000; ++i) EXPECT_EQ(open(seal("x")), "x");
    EXPECT_EQ(open(last), "last");
    EXPECT_EQ(open(last), "ignored");
    EXPECT_EQ(open(orphans), "orphans");
    EXPECT_EQ(open(orphans), "ignored");
}

TEST_F(SealedDatagrams, AreNeverEncryptedAlike) {
    // What is between the number and the proof: it would be the same if a key stream was used twice.
    std::set<Bytes> encrypted;
    constexpr int kEach = 100;
    for (Words words : {Words::kRunning, Words::kLast, Words::kOrphans})
        for (int i = 0; i < kEach; ++i) {
            Bytes sealed = seal("the same content of some length", words);
            encrypted.emplace(sealed.begin() + 8, sealed.end() - 16);
        }
    EXPECT_EQ(encrypted.size(), kWordsKinds * kEach);
}

}  // namespace
}  // namespace lockstep::host
