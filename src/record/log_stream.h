// SPDX-License-Identifier: Apache-2.0
// Writing and reading a log. No files and no sockets here: the writer hands frames to a sink, the reader is
// fed bytes as they come. The writer's states are also the reader's:
//
//     expect start --start--> [origin: snapshot] expect snapshot --last piece--> entries --end--> ended
//                             [origin: fresh boot] ------------------------------^
//
// A log position counts entries. append() returns the position behind the entry: "everything before this
// position has been acknowledged" covers the entry.
#pragma once

#include <optional>
#include <variant>
#include <vector>

#include "record/entry.h"
#include "record/entry_codec.h"
#include "record/frame.h"
#include "record/start_info.h"

namespace lockstep::record {

enum class LogState : uint8_t { kExpectStart, kExpectSnapshot, kEntries, kEnded };

/// Takes finished frames, in order: a file, the logging channel, or both.
class FrameSink {
  public:
    virtual ~FrameSink() = default;
    /// One whole frame; `after` is the position behind its last entry. The bytes are valid during the call.
    virtual void frame(ByteSpan bytes, LogPos after) = 0;
};

struct LogWriterOptions {
    Compression compression = Compression::kZstd;
    /// append() makes a frame by itself once this many bytes wait.
    size_t batch_bytes = 64 << 10;
};

class LogWriter {
  public:
    /// `first`: the position of the first entry; beyond 0 where a log is begun in the midst of a machine's
    /// life.
    explicit LogWriter(FrameSink& sink, LogWriterOptions options = {}, LogPos first = LogPos(0));

    void start(const StartInfo& info);
    /// The whole snapshot, cut into frames; after a start with Origin::kSnapshot.
    void snapshot(ByteSpan state);
    /// The next piece of a snapshot that doesn't lie in one place.
    void snapshot_piece(ByteSpan bytes, bool last);

    /// Adds an entry; icounts never go back. Returns the position behind it. It reaches the sink with a later
    /// flush(), or at once where the batch is full.
    LogPos append(const Entry& entry);
    /// Hands the entries that wait to the sink as one frame; none, no frame.
    void flush();
    /// Flushes and ends the log.
    void end();

    /// Behind the last entry appended.
    LogPos position() const { return position_; }
    /// Behind the last entry that the sink has.
    LogPos flushed() const { return flushed_; }
    LogState state() const { return state_; }

  private:
    void emit(FrameKind kind, uint32_t entry_count, ByteSpan body);

    FrameSink& sink_;
    LogWriterOptions options_;
    FrameEncoder encoder_;
    LogState state_ = LogState::kExpectStart;
    LogPos position_;
    LogPos flushed_;
    Icount last_icount_;        ///< of the last entry, or of the start
    Icount previous_in_frame_;  ///< what the next entry's icount is counted from
    uint64_t snapshot_bytes_ = 0;
    Bytes body_;
};

struct EntryBatch {
    LogPos first;
    std::vector<Entry> entries;
    bool operator==(const EntryBatch&) const = default;
};

struct LogEnd {
    bool operator==(const LogEnd&) const = default;
};

/// What the reader makes of a frame.
struct Frame {
    uint64_t offset = 0;  ///< of its header in the stream
    FrameHeader header;
    std::variant<StartInfo, SnapshotPiece, EntryBatch, LogEnd> content;
};

/// Reads a log from bytes that come in pieces of any size. An error is a sentence with the place, and stays:
/// after it nothing more is read.
class LogReader {
  public:
    /// With `ours`, a log of another build or processor is refused at its start.
    explicit LogReader(std::optional<Identity> ours = std::nullopt) : ours_(std::move(ours)) {}

    /// More bytes of the stream.
    void feed(ByteSpan bytes);
    /// The next frame, or nothing where more bytes are needed, or why the log is refused here.
    Result<std::optional<Frame>> next();
    /// Call when no more bytes will come: an error where the log has not been written to its end.
    Result<void> finish() const;

    /// Of the next frame in the stream.
    uint64_t offset() const { return offset_; }
    /// Behind the last entry read.
    LogPos position() const { return position_; }
    LogState state() const { return state_; }

  private:
    Result<std::optional<Frame>> read_frame();
    Result<Frame> parse(const FrameHeader& header, ByteSpan stored);
    Result<void> take(const StartInfo& start, const FrameHeader& header);
    Result<void> take(const SnapshotPiece& piece);
    Result<void> take(const EntryBatch& batch);
    Error refuse(const std::string& reason) const;

    std::optional<Identity> ours_;
    LogState state_ = LogState::kExpectStart;
    std::optional<Error> refused_;
    Bytes buffer_;
    size_t consumed_ = 0;  ///< of buffer_
    uint64_t offset_ = 0;
    LogPos position_;
    Icount last_icount_;
    uint64_t snapshot_bytes_ = 0;
};

}  // namespace lockstep::record
