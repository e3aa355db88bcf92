// SPDX-License-Identifier: Apache-2.0
// Datagrams that only the other side of a link can have made, and that count once.
//
// A datagram is its number (8 bytes, little-endian), the content encrypted by AES-256-GCM, and the 16 bytes by which a
// forgery shows. The number is authenticated, too, and is what tells one encryption from another. Each direction has a key
// of its own, which both sides take from their TLS session: so a datagram of another session, or one that is sent back, is as
// good as forged.
//
// Last words lie ready while others are sent, and another process sends what a dead one left (host/orphan_frames.h): they have
// numbers of their own, by the highest two bits.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "host/openssl.h"

namespace lockstep::host {

using DatagramKey = std::array<uint8_t, 32>;
/// Of one side.
struct DatagramKeys {
    DatagramKey sends, receives;
};

enum class Words : uint8_t { kRunning, kLast, kOrphans };
inline constexpr size_t kWordsKinds = 3;

using Cipher = std::unique_ptr<EVP_CIPHER_CTX, OpenSslFree<EVP_CIPHER_CTX_free>>;

/// Added to a datagram's size.
inline constexpr size_t kSealSize = 8 + 16;

class DatagramSealer {
  public:
    explicit DatagramSealer(const DatagramKey& key);
    Bytes seal(ByteSpan content, Words words);

  private:
    Cipher cipher_;
    std::array<uint64_t, kWordsKinds> next_{};
};

class DatagramOpener {
  public:
    explicit DatagramOpener(const DatagramKey& key);
    /// The content; none where it is to be ignored, which is counted.
    std::optional<Bytes> open(ByteSpan datagram);

    struct Ignored {
        uint64_t forged = 0;    ///< not made by the other side for this one
        uint64_t repeated = 0;  ///< came before, or so late that nobody knows any more
    };
    const Ignored& ignored() const { return ignored_; }

  private:
    /// Of one kind's numbers: the next that would be the newest, and those that have come.
    struct Window {
        uint64_t end = 0;
        uint64_t seen = 0;  ///< bit N: end - 1 - N
    };
    std::optional<Bytes> decrypt(ByteSpan datagram);
    static bool is_new(Window& window, uint64_t number);

    Cipher cipher_;
    std::array<Window, kWordsKinds> windows_;
    Ignored ignored_;
};

}  // namespace lockstep::host
