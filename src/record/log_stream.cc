// SPDX-License-Identifier: Apache-2.0
#include "record/log_stream.h"

#include <algorithm>

#include "base/check.h"

namespace lockstep::record {

namespace {

constexpr size_t kSnapshotPieceBytes = 1 << 20;

std::string_view expectation(LogState state) {
    switch (state) {
        case LogState::kExpectStart:
            return "a start frame";
        case LogState::kExpectSnapshot:
            return "a snapshot frame";
        case LogState::kEntries:
            return "an entries frame or the end";
        case LogState::kEnded:
            return "nothing more";
    }
    return "nothing";
}

/// The kinds of frames that a state allows.
bool allowed(LogState state, FrameKind kind) {
    switch (state) {
        case LogState::kExpectStart:
            return kind == FrameKind::kStart;
        case LogState::kExpectSnapshot:
            return kind == FrameKind::kSnapshot;
        case LogState::kEntries:
            return kind == FrameKind::kEntries || kind == FrameKind::kEnd;
        case LogState::kEnded:
            return false;
    }
    return false;
}

LogState after_start(Origin origin) {
    return origin == Origin::kSnapshot ? LogState::kExpectSnapshot : LogState::kEntries;
}

}  // namespace

LogWriter::LogWriter(FrameSink& sink, LogWriterOptions options, LogPos first)
    : sink_(sink), options_(options), encoder_(options.compression), position_(first), flushed_(first) {}

void LogWriter::emit(FrameKind kind, uint32_t entry_count, ByteSpan body) {
    CHECK(allowed(state_, kind), "a {} frame where the log expects {}", frame_name(kind),
          expectation(state_));
    ByteSpan bytes = encoder_.encode(kind, flushed_, entry_count, body);
    flushed_ += entry_count;
    sink_.frame(bytes, flushed_);
}

void LogWriter::start(const StartInfo& info) {
    emit(FrameKind::kStart, 0, info.encode());
    last_icount_ = info.first_icount;
    state_ = after_start(info.origin);
}

void LogWriter::snapshot(ByteSpan state) {
    do {
        ByteSpan piece = state.first(std::min(state.size(), kSnapshotPieceBytes));
        state = state.subspan(piece.size());
        snapshot_piece(piece, state.empty());
    } while (!state.empty());
}

void LogWriter::snapshot_piece(ByteSpan bytes, bool last) {
    CHECK(bytes.size() <= kMaxPayload, "a piece of {} bytes", bytes.size());
    SnapshotPiece piece{snapshot_bytes_, last, Bytes(bytes.begin(), bytes.end())};
    emit(FrameKind::kSnapshot, 0, piece.encode());
    snapshot_bytes_ += bytes.size();
    if (last) state_ = LogState::kEntries;
}

LogPos LogWriter::append(const Entry& entry) {
    CHECK(state_ == LogState::kEntries, "an entry where the log expects {}", expectation(state_));
    CHECK(entry.icount >= last_icount_, "icount {} after {}", entry.icount.value(), last_icount_.value());
    ByteWriter out(body_);
    encode_entry(out, entry, previous_in_frame_);
    previous_in_frame_ = last_icount_ = entry.icount;
    ++position_;
    if (body_.size() >= options_.batch_bytes) flush();
    return position_;
}

void LogWriter::flush() {
    if (position_ == flushed_) return;
    emit(FrameKind::kEntries, static_cast<uint32_t>(position_ - flushed_), body_);
    body_.clear();
    previous_in_frame_ = Icount(0);
}

void LogWriter::end() {
    flush();
    emit(FrameKind::kEnd, 0, {});
    state_ = LogState::kEnded;
}

void LogReader::feed(ByteSpan bytes) {
    if (refused_) return;
    if (consumed_ == buffer_.size() || consumed_ > buffer_.size() / 2) {
        buffer_.erase(buffer_.begin(), buffer_.begin() + static_cast<ptrdiff_t>(consumed_));
        consumed_ = 0;
    }
    buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
}

Error LogReader::refuse(const std::string& reason) const {
    return error("at byte {}, log position {}: {}", offset_, position_.value(), reason);
}

Result<std::optional<Frame>> LogReader::next() {
    if (refused_) return *refused_;
    auto frame = read_frame();
    if (!frame) {
        refused_ = frame.error();
        buffer_ = {};
        consumed_ = 0;
    }
    return frame;
}

Result<std::optional<Frame>> LogReader::read_frame() {
    ByteSpan unread = ByteSpan(buffer_).subspan(consumed_);
    if (unread.empty()) return std::optional<Frame>();
    if (state_ == LogState::kEnded) return refuse("bytes follow the end of the log; use an intact copy");
    if (unread.size() < kFrameHeaderSize) return std::optional<Frame>();
    ByteReader in(unread);
    FrameHeader header = FrameHeader::read(in);
    // Its first frame has told that this is a log, and of which version.
    if (offset_ > 0 && (header.magic != kLogMagic || header.version != kLogVersion))
        return refuse("a frame's header is damaged (no frame begins here); use an intact copy");
    if (std::string reason = header.invalid(); !reason.empty()) return refuse(reason);
    if (!allowed(state_, header.frame_kind())) {
        return refuse(fmt::format("a frame of kind {} stands where {} belongs",
                                  frame_name(header.frame_kind()), expectation(state_)));
    }
    if (state_ != LogState::kExpectStart && header.position() != position_) {
        return refuse(fmt::format("frames are missing or out of order: this one begins at log position {}",
                                  header.first_position));
    }
    if (unread.size() < kFrameHeaderSize + header.body_size) return std::optional<Frame>();
    auto frame = parse(header, unread.subspan(kFrameHeaderSize, header.body_size));
    if (!frame) return refuse(frame.error().message());
    consumed_ += kFrameHeaderSize + header.body_size;
    offset_ += kFrameHeaderSize + header.body_size;
    return std::optional<Frame>(frame.take());
}

Result<Frame> LogReader::parse(const FrameHeader& header, ByteSpan stored) {
    Bytes body = TRY(decode_body(header, stored));
    Frame frame{offset_, header, LogEnd{}};
    switch (header.frame_kind()) {
        case FrameKind::kStart: {
            StartInfo start = TRY(StartInfo::decode(body));
            TRY(take(start, header));
            frame.content = std::move(start);
            break;
        }
        case FrameKind::kSnapshot: {
            SnapshotPiece piece = TRY(SnapshotPiece::decode(body));
            TRY(take(piece));
            frame.content = std::move(piece);
            break;
        }
        case FrameKind::kEntries: {
            EntryBatch batch{position_, TRY(decode_entries(body, header.entry_count, last_icount_))};
            TRY(take(batch));
            frame.content = std::move(batch);
            break;
        }
        case FrameKind::kEnd:
            state_ = LogState::kEnded;
            break;
    }
    return frame;
}

Result<void> LogReader::take(const StartInfo& start, const FrameHeader& header) {
    if (ours_) {
        if (std::string reason = incompatible(start, *ours_); !reason.empty()) return Error(reason);
    }
    position_ = header.position();
    last_icount_ = start.first_icount;
    state_ = after_start(start.origin);
    return {};
}

Result<void> LogReader::take(const SnapshotPiece& piece) {
    if (piece.offset != snapshot_bytes_) {
        return error("a piece of the snapshot is missing: byte {} follows byte {}", piece.offset,
                     snapshot_bytes_);
    }
    snapshot_bytes_ += piece.bytes.size();
    if (piece.last) state_ = LogState::kEntries;
    return {};
}

Result<void> LogReader::take(const EntryBatch& batch) {
    position_ += batch.entries.size();
    last_icount_ = batch.entries.back().icount;
    return {};
}

Result<void> LogReader::finish() const {
    if (refused_) return *refused_;
    if (state_ == LogState::kEnded && consumed_ == buffer_.size()) return {};
    if (offset_ == 0 && buffer_.empty()) return error("the log is empty; record again");
    size_t rest = buffer_.size() - consumed_;
    return refuse(
        rest ? fmt::format(
                   "the log is cut off in the midst of a frame ({} bytes of it are here); use a whole copy",
                   rest)
             : fmt::format("the log is cut off: {} is missing; use a whole copy", expectation(state_)));
}

}  // namespace lockstep::record
