// SPDX-License-Identifier: Apache-2.0
#include "replica/message.h"

#include <array>
#include <type_traits>
#include <utility>

#include "base/check.h"
#include "base/foreign_text.h"
#include "base/hash.h"

namespace lockstep::replica {

namespace {

constexpr MessageInfo kTable[] = {
#define LOCKSTEP_NO_FIELD(type, name)
#define LOCKSTEP_MESSAGE(Name, number, direction, carrier, text, fields) \
    {MessageKind::k##Name, #Name, Direction::direction, Carrier::carrier, text},
    LOCKSTEP_REPLICA_MESSAGES(LOCKSTEP_MESSAGE, LOCKSTEP_NO_FIELD)
#undef LOCKSTEP_MESSAGE
#undef LOCKSTEP_NO_FIELD
};

template <typename T>
constexpr bool kIsStrong = std::is_same_v<T, LogPos> || std::is_same_v<T, Icount>;

/// Pieces may come at the end of a message only: they are left out here.
struct Encoder {
    ByteWriter& out;
    Pieces* tail = nullptr;

    template <typename T>
    void operator()(const char* name, T& value) {
        CHECK(!tail, "the field {} comes after one in pieces", name);
        if constexpr (std::is_same_v<T, Pieces>) {
            out.varint(value.size());
            tail = &value;
        } else if constexpr (kIsStrong<T>) {
            out.varint(value.value());
        } else if constexpr (std::is_same_v<T, std::string>) {
            out.text(value);
        } else if constexpr (std::is_same_v<T, Bytes>) {
            out.blob(value);
        } else {
            out.varint(value);
        }
    }
};

struct Decoder {
    ByteReader& in;
    bool in_range = true;

    template <typename T>
    void operator()(const char*, T& value) {
        if constexpr (kIsStrong<T>) {
            value = T(in.varint());
        } else if constexpr (std::is_same_v<T, std::string>) {
            value = foreign_text(in.text());
        } else if constexpr (std::is_same_v<T, Bytes>) {
            ByteSpan bytes = in.blob();
            value.assign(bytes.begin(), bytes.end());
        } else if constexpr (std::is_same_v<T, Pieces>) {
            ByteSpan bytes = in.blob();
            value = Pieces(Bytes(bytes.begin(), bytes.end()));
        } else {
            uint64_t number = in.varint();
            value = static_cast<T>(number);
            in_range = in_range && value == number;
        }
    }
};

struct Describer {
    std::string text;

    template <typename T>
    void operator()(const char* name, const T& value) {
        text += text.empty() ? "" : ", ";
        if constexpr (kIsStrong<T>) {
            text += fmt::format("{}={}", name, value.value());
        } else if constexpr (std::is_same_v<T, Bytes> || std::is_same_v<T, Pieces>) {
            text += fmt::format("{}={} bytes", name, value.size());
        } else {
            text += fmt::format("{}={}", name, value);
        }
    }
};

#define LOCKSTEP_VISIT_FIELD(type, name) visitor(#name, message.name);
#define LOCKSTEP_MESSAGE(Name, number, direction, carrier, text, fields)                         \
    template <typename Visitor>                                                                  \
    void visit_fields([[maybe_unused]] Name& message, [[maybe_unused]] Visitor& visitor) {       \
        fields                                                                                   \
    }                                                                                            \
    template <typename Visitor>                                                                  \
    void visit_fields([[maybe_unused]] const Name& message, [[maybe_unused]] Visitor& visitor) { \
        fields                                                                                   \
    }
LOCKSTEP_REPLICA_MESSAGES(LOCKSTEP_MESSAGE, LOCKSTEP_VISIT_FIELD)
#undef LOCKSTEP_MESSAGE
#undef LOCKSTEP_VISIT_FIELD

void put_header(ByteWriter& out, const Header& header) {
    out.fixed(header.checksum);
    out.fixed(header.size);
    out.fixed(header.version);
    out.fixed(header.kind);
    out.fixed(uint8_t{0});
    out.fixed(header.vm);
    out.fixed(header.term.value());
    out.fixed(header.sender);
    out.fixed(header.receiver);
    out.fixed(header.sent_ms);
    out.fixed(header.echo_ms);
}

struct RawHeader {
    Header header;
    uint8_t reserved = 0;
};

RawHeader get_header(ByteSpan bytes) {
    RawHeader raw;
    ByteReader in(bytes);
    Header& header = raw.header;
    header.checksum = in.fixed<uint64_t>();
    header.size = in.fixed<uint32_t>();
    header.version = in.fixed<uint16_t>();
    header.kind = in.fixed<uint8_t>();
    raw.reserved = in.fixed<uint8_t>();
    header.vm = in.fixed<uint64_t>();
    header.term = Term(in.fixed<uint64_t>());
    header.sender = in.fixed<uint64_t>();
    header.receiver = in.fixed<uint64_t>();
    header.sent_ms = in.fixed<uint64_t>();
    header.echo_ms = in.fixed<uint64_t>();
    return raw;
}

/// A default message of the alternative whose row in the table has this kind.
template <size_t index = 0>
std::optional<Message> make_message(uint8_t kind) {
    if constexpr (index < std::variant_size_v<Message>) {
        if (static_cast<uint8_t>(kTable[index].kind) == kind) return Message(std::in_place_index<index>);
        return make_message<index + 1>(kind);
    } else {
        return std::nullopt;
    }
}

}  // namespace

static_assert(std::size(kTable) == std::variant_size_v<Message>, "Message and its table differ");

std::span<const MessageInfo> message_table() { return kTable; }

const MessageInfo& info_of(const Message& message) { return kTable[message.index()]; }

std::optional<Error> Header::invalid(ByteSpan bytes) const {
    if (bytes.size() < kHeaderBytes)
        return error("a message of {} bytes is shorter than its header of {}", bytes.size(), kHeaderBytes);
    if (size != bytes.size())
        return error("a message says that it has {} bytes but has {}", size, bytes.size());
    if (hash64(bytes.subspan(sizeof checksum)) != checksum)
        return error("a message of kind {} is damaged: its checksum is wrong", kind);
    if (version != kProtocolVersion)
        return error(
            "the other side speaks version {} of the replica protocol, this one version {}: install the same "
            "build on both hosts",
            version, kProtocolVersion);
    if (get_header(bytes).reserved != 0) return error("a message of kind {} sets reserved bits", kind);
    if (!make_message(kind)) return error("a message of unknown kind {}", kind);
    if (sender == 0) return error("a message of kind {} without a sender", kind);
    return std::nullopt;
}

Pieces encode_in_pieces(Header header, Message message) {
    header.kind = static_cast<uint8_t>(info_of(message).kind);
    header.version = kProtocolVersion;
    Bytes head;
    ByteWriter out(head);
    put_header(out, header);
    Encoder encoder{out};
    std::visit([&](auto& m) { visit_fields(m, encoder); }, message);
    std::vector<Bytes> tail;
    if (encoder.tail) tail = encoder.tail->take_all();

    size_t size = head.size();
    std::vector<ByteSpan> hashed = {ByteSpan(head).subspan(sizeof header.checksum)};
    for (const Bytes& piece : tail) {
        size += piece.size();
        hashed.emplace_back(piece);
    }
    auto size_field = static_cast<uint32_t>(size);
    std::memcpy(head.data() + sizeof header.checksum, &size_field, sizeof size_field);
    uint64_t checksum = hash64(hashed);
    std::memcpy(head.data(), &checksum, sizeof checksum);

    Pieces pieces(std::move(head));
    for (Bytes& piece : tail) pieces.add(std::move(piece));
    return pieces;
}

Bytes encode(const Header& header, Message message) {
    return encode_in_pieces(header, std::move(message)).take_joined();
}

Bytes encode_orphans(ByteSpan words, uint16_t device, Bytes packets) {
    Header header = get_header(words).header;
    header.sent_ms = header.echo_ms = 0;
    return encode(header, Orphans{device, std::move(packets)});
}

Result<Envelope> decode(ByteSpan bytes) {
    Header header = get_header(bytes).header;
    if (std::optional<Error> why = header.invalid(bytes)) return *why;
    Message message = *make_message(header.kind);
    ByteReader in(bytes.subspan(kHeaderBytes));
    Decoder decoder{in};
    std::visit([&](auto& m) { visit_fields(m, decoder); }, message);
    if (!in.ok() || !decoder.in_range || in.remaining() != 0)
        return error("the fields of a {} message don't fill it exactly", info_of(message).name);
    return Envelope{header, std::move(message)};
}

std::string describe(const Message& message) {
    Describer describer;
    std::visit([&](const auto& m) { visit_fields(m, describer); }, message);
    return fmt::format("{}{{{}}}", info_of(message).name, describer.text);
}

}  // namespace lockstep::replica
