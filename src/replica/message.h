// SPDX-License-Identifier: Apache-2.0
// The messages between a primary and its backup: one table, from which structs, codec and dump are made.
//
// Every message begins with the same header (little-endian, 64 bytes):
//
//     offset  size  field
//          0     8  checksum   hash64 of all that follows
//          8     4  size       of the whole message, header included
//         12     2  version    kProtocolVersion
//         14     1  kind       number in the table
//         15     1  reserved   zero
//         16     8  vm         which VM's pair this is; another one's messages are refused
//         24     8  term       the life of the pair that the sender is in; others' are refused
//         32     8  sender     the process that sent it
//         40     8  receiver   the process that it is meant for; 0 where not known yet
//         48     8  sent_ms    the sender's clock when it sent this
//         56     8  echo_ms    the newest sent_ms that the sender has seen of the receiver; 0: none
//
// `sent_ms` and `echo_ms` carry the lease (see docs/adr/0001-who-may-act.md): a clock is only ever compared
// with itself, so the two hosts' clocks need not agree.
//
// The fields follow in the table's order. Numbers are LEB128, byte strings and texts have their length before
// them; texts are for people, and come in through foreign_text(). Numbers of kinds are never changed or
// reused (4 and 5 were those of a copy in one string); a change of fields raises kProtocolVersion.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>

#include "base/bytes.h"
#include "base/pieces.h"
#include "base/result.h"
#include "base/strong.h"

namespace lockstep::replica {

inline constexpr uint16_t kProtocolVersion = 4;
inline constexpr size_t kHeaderBytes = 64;
/// No message is larger: a size beyond it is damage, not a long message. A group of entries and the longest
/// entry fit in; what may be longer goes in parts.
inline constexpr size_t kMaxMessageBytes = 32u << 20;

enum class Direction : uint8_t { kToBackup, kToPrimary };
/// The channel is a stream, in order and without loss. Datagrams may be lost, doubled and reordered.
enum class Carrier : uint8_t { kChannel, kDatagram };

// LOCKSTEP_MESSAGE(Name, number, direction, carrier, "what it says", FIELD(type, name)...)
// clang-format off
#define LOCKSTEP_REPLICA_MESSAGES(LOCKSTEP_MESSAGE, FIELD)                                                      \
    LOCKSTEP_MESSAGE(Hello, 1, kToBackup, kChannel, "who the primary is and what a backup must match",          \
        FIELD(std::string, vm_name) FIELD(std::string, build) FIELD(std::string, cpu) FIELD(uint64_t, lease_ms)) \
    LOCKSTEP_MESSAGE(Welcome, 2, kToPrimary, kChannel, "the backup is fit and ready for the copy",              \
        FIELD(uint64_t, buffer_bytes) FIELD(std::string, host))                                                 \
    LOCKSTEP_MESSAGE(Refuse, 3, kToPrimary, kChannel, "the backup can't serve, and why, in a sentence",         \
        FIELD(std::string, sentence))                                                                           \
    LOCKSTEP_MESSAGE(Loaded, 6, kToPrimary, kChannel, "the backup has loaded the copy of this position",        \
        FIELD(LogPos, position))                                                                                \
    LOCKSTEP_MESSAGE(Protect, 7, kToBackup, kChannel, "from here on outputs wait for the backup, which may take over", \
        FIELD(LogPos, position))                                                                                \
    LOCKSTEP_MESSAGE(Log, 8, kToBackup, kChannel, "log entries, and how far the log is complete",               \
        FIELD(LogPos, first) FIELD(uint64_t, count) FIELD(Icount, complete) FIELD(uint8_t, ends) FIELD(Pieces, entries)) \
    LOCKSTEP_MESSAGE(Ack, 9, kToPrimary, kChannel, "log received, and how far it has been replayed",            \
        FIELD(LogPos, received) FIELD(LogPos, replayed) FIELD(Icount, icount))                                  \
    LOCKSTEP_MESSAGE(PrimaryBeat, 10, kToBackup, kDatagram, "the primary lives",                                \
        FIELD(LogPos, appended) FIELD(Icount, icount) FIELD(LogPos, left_before))                                                          \
    LOCKSTEP_MESSAGE(BackupBeat, 11, kToPrimary, kDatagram, "the backup lives; also an acknowledgement",        \
        FIELD(LogPos, received) FIELD(LogPos, replayed) FIELD(Icount, icount) FIELD(uint8_t, links_lost))       \
    LOCKSTEP_MESSAGE(Diverged, 12, kToPrimary, kChannel, "the backup's state differs; it has halted itself",    \
        FIELD(LogPos, position) FIELD(Icount, icount) FIELD(uint8_t, parts))                                    \
    LOCKSTEP_MESSAGE(HandOver, 13, kToBackup, kChannel, "the primary has stopped for good at this position: take over", \
        FIELD(LogPos, position) FIELD(LogPos, left_before))                                                                                \
    LOCKSTEP_MESSAGE(Live, 14, kToPrimary, kChannel, "the backup is the owner now, in the header's term",       \
        FIELD(LogPos, position))                                                                                \
    LOCKSTEP_MESSAGE(StandDown, 15, kToBackup, kChannel, "the backup is dismissed, and why",                    \
        FIELD(std::string, sentence))                                                                           \
    LOCKSTEP_MESSAGE(Gone, 16, kToPrimary, kChannel, "the backup has stopped and will never take over, and why", \
        FIELD(std::string, sentence))                                                                           \
    LOCKSTEP_MESSAGE(Crashed, 17, kToBackup, kDatagram, "a signal of its own ends the primary's process",)          \
    LOCKSTEP_MESSAGE(CloneStart, 18, kToBackup, kChannel, "a copy of the guest begins with its machine's configuration", \
        FIELD(uint64_t, config_bytes))                                                                          \
    LOCKSTEP_MESSAGE(CloneConfig, 19, kToBackup, kChannel, "the next bytes of the configuration",                \
        FIELD(Bytes, bytes))                                                                                    \
    LOCKSTEP_MESSAGE(CloneReady, 20, kToPrimary, kChannel, "the machine is made and takes pages",)               \
    LOCKSTEP_MESSAGE(ClonePages, 21, kToBackup, kChannel, "pages of the guest's memory; the last word on a page counts", \
        FIELD(Pieces, records))                                                                                 \
    LOCKSTEP_MESSAGE(CloneCut, 22, kToBackup, kChannel, "the copy is of this moment, and the log goes on from here", \
        FIELD(LogPos, position) FIELD(Icount, icount) FIELD(uint64_t, state_bytes))                             \
    LOCKSTEP_MESSAGE(CloneState, 23, kToBackup, kChannel, "the next bytes of the state of registers and devices", \
        FIELD(Bytes, bytes))                                                                                    \
    LOCKSTEP_MESSAGE(CloneEnd, 24, kToBackup, kChannel, "all pages of the copy have come",)                     \
    LOCKSTEP_MESSAGE(Orphans, 25, kToBackup, kDatagram, "packets for the guest that a dead primary leaves",        \
        FIELD(uint16_t, device) FIELD(Bytes, packets))
// clang-format on

#define LOCKSTEP_FIELD(type, name) type name{};
#define LOCKSTEP_MESSAGE(Name, number, direction, carrier, text, fields) \
    struct Name {                                                        \
        fields bool operator==(const Name&) const = default;             \
    };
LOCKSTEP_REPLICA_MESSAGES(LOCKSTEP_MESSAGE, LOCKSTEP_FIELD)
#undef LOCKSTEP_MESSAGE

enum class MessageKind : uint8_t {
#define LOCKSTEP_MESSAGE(Name, number, direction, carrier, text, fields) k##Name = number,
    LOCKSTEP_REPLICA_MESSAGES(LOCKSTEP_MESSAGE, LOCKSTEP_FIELD)
#undef LOCKSTEP_MESSAGE
};
#undef LOCKSTEP_FIELD

/// A row of the table, without the fields.
struct MessageInfo {
    MessageKind kind;
    std::string_view name;
    Direction direction;
    Carrier carrier;
    std::string_view text;
};

using Message = std::variant<Hello, Welcome, Refuse, Loaded, Protect, Log, Ack, PrimaryBeat, BackupBeat,
                             Diverged, HandOver, Live, StandDown, Gone, Crashed, CloneStart, CloneConfig,
                             CloneReady, ClonePages, CloneCut, CloneState, CloneEnd, Orphans>;

/// All rows, in the order of the table (and of the alternatives of Message).
std::span<const MessageInfo> message_table();
const MessageInfo& info_of(const Message& message);

struct Header {
    uint64_t checksum = 0;
    uint32_t size = 0;
    uint16_t version = kProtocolVersion;
    uint8_t kind = 0;
    uint64_t vm = 0;
    Term term;
    uint64_t sender = 0;
    uint64_t receiver = 0;
    uint64_t sent_ms = 0;
    uint64_t echo_ms = 0;

    /// Why `bytes`, whose header this is, are not a whole, undamaged message of this version; empty: they
    /// are.
    std::optional<Error> invalid(ByteSpan bytes) const;
};

struct Envelope {
    Header header;
    Message message;
};

/// The bytes of a message; checksum, size, version and kind of `header` are filled in here. The pieces that
/// the message has are moved, not copied.
Pieces encode_in_pieces(Header header, Message message);
/// The same in one.
Bytes encode(const Header& header, Message message);
/// What proves to a backup that packets are those of its dead primary, in the name of which `words` (any message
/// of it to that backup) are: an Orphans datagram. It is no sign of life.
Bytes encode_orphans(ByteSpan words, uint16_t device, Bytes packets);
/// The message, or why the bytes are not one.
Result<Envelope> decode(ByteSpan bytes);
/// For logs and traces: name and fields, byte strings by their length.
std::string describe(const Message& message);

}  // namespace lockstep::replica
