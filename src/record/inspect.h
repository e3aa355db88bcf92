// SPDX-License-Identifier: Apache-2.0
// What a person wants to know of a log. Each function reads a log from a source of bytes, so a log need not
// fit in memory, and answers in text. A log that is cut or damaged is shown as far as it is good, with the
// problem.
#pragma once

#include <deque>
#include <functional>
#include <optional>
#include <span>
#include <string>

#include "record/log_stream.h"

namespace lockstep::record {

/// Fills the buffer as far as it can and returns the number of bytes; 0: there are no more.
using ByteSource = std::function<Result<size_t>(std::span<uint8_t>)>;

/// A source of bytes that lie in memory; they must outlive it.
ByteSource bytes_source(ByteSpan bytes);

/// A log read from its source, frame by frame or entry by entry.
class LogCursor {
  public:
    /// `name`: what the log is called in texts.
    LogCursor(std::string name, ByteSource source);

    const std::string& name() const { return name_; }
    /// The next frame; nothing at the log's proper end; else why it is refused.
    Result<std::optional<Frame>> next_frame();

    struct Located {
        LogPos position;
        Entry entry;
    };
    /// The next entry, past all other frames.
    Result<std::optional<Located>> next_entry();
    /// Once the first entry (or the end) has been read.
    const std::optional<StartInfo>& start() const { return start_; }

  private:
    std::string name_;
    ByteSource source_;
    LogReader reader_;
    Bytes chunk_;
    std::optional<StartInfo> start_;
    LogPos batch_position_;
    std::deque<Entry> batch_;
};

struct Inspection {
    std::string text;     ///< lines, each with its end
    std::string problem;  ///< one sentence that names the log; empty where all is well
};

/// Who recorded, from where to where, entries and bytes by kind and by second of guest time, and by second of
/// host time where the caller knows it.
Inspection summarise(LogCursor& log, std::optional<double> host_seconds = std::nullopt);

struct EntryRange {
    LogPos first;
    uint64_t most = ~uint64_t{0};   ///< entries to show
    std::optional<EntryKind> kind;  ///< of this kind alone
};
/// One line for each entry. The cursor stays behind the last one shown: call again for more.
Inspection list_entries(LogCursor& log, const EntryRange& range = {});

/// Reads everything: structure, checksums, order, payloads.
Inspection verify(LogCursor& log);

/// One line for each state hash.
Inspection list_state_hashes(LogCursor& log);

/// The first place where two logs say different things; how they are cut into frames doesn't matter. A
/// difference is a problem.
Inspection first_difference(LogCursor& left, LogCursor& right);

}  // namespace lockstep::record
