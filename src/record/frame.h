// SPDX-License-Identifier: Apache-2.0
// A frame: the unit of a log, in a file and on the logging channel alike. docs/log-format.md is the full
// account.
//
//     log   = start, snapshot*, entries*, end       (the start says whether a snapshot follows)
//     frame = header of 48 bytes, body
//
// All numbers are little-endian. The magic and the version stay where they are in every version to come, so
// that any build can name what it can't read. The header has a checksum of its own: a damaged size is found
// before anyone waits for that many bytes.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/result.h"
#include "base/strong.h"

namespace lockstep::record {

inline constexpr uint32_t kLogMagic = 0x474c534c;  // "LSLG"
inline constexpr uint16_t kLogVersion = 2;
inline constexpr size_t kFrameHeaderSize = 48;

// LOCKSTEP_FRAME(name, number, greatest body in MiB, "what it holds")
// Numbers are part of the format: never change or reuse one.
// clang-format off
#define LOCKSTEP_FRAMES(LOCKSTEP_FRAME)                                                                         \
    LOCKSTEP_FRAME(kStart,    1, 1024, "who records, on which processor, the machine's configuration")          \
    LOCKSTEP_FRAME(kSnapshot, 2,   32, "a piece of the machine's state at the start; the pieces come in order") \
    LOCKSTEP_FRAME(kEntries,  3,   32, "log entries")                                                           \
    LOCKSTEP_FRAME(kEnd,      4,    0, "the log was written to its end; nothing follows")

// LOCKSTEP_HEADER_FIELD(type, name, "what it says"), in the order of the bytes.
#define LOCKSTEP_FRAME_HEADER(LOCKSTEP_HEADER_FIELD)                                                            \
    LOCKSTEP_HEADER_FIELD(uint32_t, magic,          "\"LSLG\", the same in every version")                      \
    LOCKSTEP_HEADER_FIELD(uint16_t, version,        "of the format")                                            \
    LOCKSTEP_HEADER_FIELD(uint8_t,  kind,           "a number from the table of frames")                        \
    LOCKSTEP_HEADER_FIELD(uint8_t,  flags,          "bit 0: the body is compressed (zstd); the others are zero") \
    LOCKSTEP_HEADER_FIELD(uint64_t, checksum,       "hash64 of this header with zero in this field")            \
    LOCKSTEP_HEADER_FIELD(uint64_t, body_checksum,  "hash64 of the body as stored")                             \
    LOCKSTEP_HEADER_FIELD(uint64_t, first_position, "log position of the first entry in or after this frame")   \
    LOCKSTEP_HEADER_FIELD(uint32_t, entry_count,    "entries in the body")                                      \
    LOCKSTEP_HEADER_FIELD(uint32_t, body_size,      "bytes of the body as stored")                              \
    LOCKSTEP_HEADER_FIELD(uint32_t, plain_size,     "bytes of the body once decompressed")                      \
    LOCKSTEP_HEADER_FIELD(uint32_t, reserved,       "zero")
// clang-format on

enum class FrameKind : uint8_t {
#define LOCKSTEP_FRAME(name, number, body_mib, text) name = number,
    LOCKSTEP_FRAMES(LOCKSTEP_FRAME)
#undef LOCKSTEP_FRAME
};

/// As in the table, without its k: "Start".
std::string_view frame_name(FrameKind kind);
/// The greatest body of a kind, in bytes.
uint64_t frame_body_limit(FrameKind kind);

inline constexpr uint8_t kFrameCompressed = 1;

struct FrameHeader {
#define LOCKSTEP_HEADER_FIELD(type, name, text) type name = 0;
    LOCKSTEP_FRAME_HEADER(LOCKSTEP_HEADER_FIELD)
#undef LOCKSTEP_HEADER_FIELD

    FrameKind frame_kind() const { return static_cast<FrameKind>(kind); }
    LogPos position() const { return LogPos(first_position); }

    void write(ByteWriter& out) const;
    /// Reads kFrameHeaderSize bytes; judge them with invalid().
    static FrameHeader read(ByteReader& in);
    /// What `checksum` ought to be.
    uint64_t right_checksum() const;

    /// Why this header is refused, as a sentence; empty where it is good.
    std::string invalid() const;
};

enum class Compression : uint8_t { kNone, kZstd };

/// Makes frames. Keeps the compressor's memory, and its experience: bodies like those that didn't shrink are
/// stored plain without trying each time.
class FrameEncoder {
  public:
    explicit FrameEncoder(Compression compression);
    ~FrameEncoder();
    FrameEncoder(const FrameEncoder&) = delete;
    FrameEncoder& operator=(const FrameEncoder&) = delete;

    /// The bytes of a frame, valid until the next call. `body` is within the kind's limit.
    ByteSpan encode(FrameKind kind, LogPos first, uint32_t entry_count, ByteSpan body);

  private:
    bool worth_trying(size_t size);
    /// The compressed body, placed after the header's room in frame_; false where that doesn't pay.
    bool compress(ByteSpan body);

    Compression compression_;
    struct Compressor;
    std::unique_ptr<Compressor> compressor_;
    Bytes frame_;
    unsigned skip_ = 0;  ///< bodies to store plain before the next try
    unsigned next_skip_ = 1;
};

/// The plain body of a frame whose header is good and whose stored body is `stored`, or why it is refused.
Result<Bytes> decode_body(const FrameHeader& header, ByteSpan stored);

}  // namespace lockstep::record
