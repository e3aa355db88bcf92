// SPDX-License-Identifier: Apache-2.0
#include "record/frame.h"

#include <zstd.h>

#include <algorithm>

#include "base/check.h"
#include "base/hash.h"

namespace lockstep::record {

namespace {

constexpr int kZstdLevel = 1;
/// Smaller bodies are stored as they are: an entry or two gain nothing.
constexpr size_t kLeastToCompress = 256;
constexpr unsigned kMostSkipped = 64;

struct FrameRow {
    FrameKind kind;
    std::string_view name;
    uint64_t body_limit;
};

constexpr FrameRow kFrames[] = {
#define LOCKSTEP_FRAME(name, number, body_mib, text) {FrameKind::name, #name, uint64_t{body_mib} << 20},
    LOCKSTEP_FRAMES(LOCKSTEP_FRAME)
#undef LOCKSTEP_FRAME
};

const FrameRow* find(FrameKind kind) {
    const FrameRow* row = std::ranges::find(kFrames, kind, &FrameRow::kind);
    return row == std::end(kFrames) ? nullptr : row;
}

constexpr size_t header_size() {
    size_t size = 0;
#define LOCKSTEP_HEADER_FIELD(type, name, text) size += sizeof(type);
    LOCKSTEP_FRAME_HEADER(LOCKSTEP_HEADER_FIELD)
#undef LOCKSTEP_HEADER_FIELD
    return size;
}
static_assert(header_size() == kFrameHeaderSize);

}  // namespace

std::string_view frame_name(FrameKind kind) {
    const FrameRow* row = find(kind);
    return row ? row->name.substr(1) : "unknown";
}

uint64_t frame_body_limit(FrameKind kind) {
    const FrameRow* row = find(kind);
    return row ? row->body_limit : 0;
}

void FrameHeader::write(ByteWriter& out) const {
#define LOCKSTEP_HEADER_FIELD(type, name, text) out.fixed(name);
    LOCKSTEP_FRAME_HEADER(LOCKSTEP_HEADER_FIELD)
#undef LOCKSTEP_HEADER_FIELD
}

FrameHeader FrameHeader::read(ByteReader& in) {
    FrameHeader header;
#define LOCKSTEP_HEADER_FIELD(type, name, text) header.name = in.fixed<type>();
    LOCKSTEP_FRAME_HEADER(LOCKSTEP_HEADER_FIELD)
#undef LOCKSTEP_HEADER_FIELD
    return header;
}

uint64_t FrameHeader::right_checksum() const {
    FrameHeader copy = *this;
    copy.checksum = 0;
    Bytes bytes;
    bytes.reserve(kFrameHeaderSize);
    ByteWriter out(bytes);
    copy.write(out);
    return hash64(bytes);
}

std::string FrameHeader::invalid() const {
    if (magic != kLogMagic)
        return "this is not a Lockstep log (no frame begins here); name a file made by 'record'";
    if (version != kLogVersion) {
        return fmt::format(
            "the log has format version {} and this build reads version {}; use the build that wrote it",
            version, kLogVersion);
    }
    if (checksum != right_checksum())
        return "a frame's header is damaged (wrong checksum); use an intact copy";
    // The header is as its writer made it; what follows are faults of the writer.
    const FrameRow* row = find(frame_kind());
    if (!row) return fmt::format("frame kind {} is unknown to format version {}", kind, version);
    if (flags & ~kFrameCompressed) return fmt::format("frame flags {:#x} are unknown", flags);
    if (reserved != 0) return "the reserved bytes of a frame's header are not zero";
    if (body_size > row->body_limit || plain_size > row->body_limit) {
        return fmt::format("a body of {} bytes is beyond the limit of {} frames",
                           std::max(body_size, plain_size), frame_name(frame_kind()));
    }
    if (!(flags & kFrameCompressed) && plain_size != body_size) return "a plain body has two sizes";
    if ((frame_kind() == FrameKind::kEntries) != (entry_count != 0)) {
        return fmt::format("a frame of kind {} cannot have {} entries", frame_name(frame_kind()),
                           entry_count);
    }
    return {};
}

struct FrameEncoder::Compressor {
    Compressor() = default;
    Compressor(const Compressor&) = delete;
    Compressor& operator=(const Compressor&) = delete;
    ZSTD_CCtx* context = ZSTD_createCCtx();
    ~Compressor() { ZSTD_freeCCtx(context); }
};

FrameEncoder::FrameEncoder(Compression compression) : compression_(compression) {
    if (compression_ == Compression::kZstd) {
        compressor_ = std::make_unique<Compressor>();
        CHECK(compressor_->context, "no memory for the compressor");
    }
}

FrameEncoder::~FrameEncoder() = default;

bool FrameEncoder::worth_trying(size_t size) {
    if (compression_ == Compression::kNone || size < kLeastToCompress) return false;
    if (skip_ == 0) return true;
    --skip_;
    return false;
}

bool FrameEncoder::compress(ByteSpan body) {
    // Room for 7/8 of the body: what needs more isn't worth the reader's time, and zstd gives up early.
    size_t room = body.size() - body.size() / 8;
    frame_.resize(kFrameHeaderSize + room);
    size_t size = ZSTD_compressCCtx(compressor_->context, frame_.data() + kFrameHeaderSize, room, body.data(),
                                    body.size(), kZstdLevel);
    if (ZSTD_isError(size)) {
        skip_ = next_skip_;
        next_skip_ = std::min(next_skip_ * 2, kMostSkipped);
        return false;
    }
    next_skip_ = 1;
    frame_.resize(kFrameHeaderSize + size);
    return true;
}

ByteSpan FrameEncoder::encode(FrameKind kind, LogPos first, uint32_t entry_count, ByteSpan body) {
    CHECK(body.size() <= frame_body_limit(kind), "a {} frame of {} bytes", frame_name(kind), body.size());
    frame_.clear();
    FrameHeader header;
    if (worth_trying(body.size()) && compress(body)) {
        header.flags |= kFrameCompressed;
    } else {
        frame_.resize(kFrameHeaderSize);
        frame_.insert(frame_.end(), body.begin(), body.end());
    }
    ByteSpan stored = ByteSpan(frame_).subspan(kFrameHeaderSize);
    header.magic = kLogMagic;
    header.version = kLogVersion;
    header.kind = static_cast<uint8_t>(kind);
    header.body_checksum = hash64(stored);
    header.first_position = first.value();
    header.entry_count = entry_count;
    header.body_size = static_cast<uint32_t>(stored.size());
    header.plain_size = static_cast<uint32_t>(body.size());
    header.checksum = header.right_checksum();

    Bytes head;
    head.reserve(kFrameHeaderSize);
    ByteWriter out(head);
    header.write(out);
    std::ranges::copy(head, frame_.begin());
    return frame_;
}

Result<Bytes> decode_body(const FrameHeader& header, ByteSpan stored) {
    if (hash64(stored) != header.body_checksum) {
        return error("a frame's body is damaged (wrong checksum); use an intact copy");
    }
    if (!(header.flags & kFrameCompressed)) return Bytes(stored.begin(), stored.end());
    Bytes plain(header.plain_size);
    size_t size = ZSTD_decompress(plain.data(), plain.size(), stored.data(), stored.size());
    if (ZSTD_isError(size) || size != plain.size())
        return error("a compressed body does not unpack to its size");
    return plain;
}

}  // namespace lockstep::record
