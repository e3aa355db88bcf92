// SPDX-License-Identifier: Apache-2.0
// Logs for tests, made from seeds.
#pragma once

#include <random>
#include <vector>

#include "record/log_stream.h"

namespace lockstep::record {

/// Collects the frames of a writer.
struct CollectingSink : FrameSink {
    void frame(ByteSpan frame_bytes, LogPos after_position) override {
        bytes.insert(bytes.end(), frame_bytes.begin(), frame_bytes.end());
        ends.push_back(bytes.size());
        after = after_position;
    }
    Bytes bytes;
    std::vector<size_t> ends;  ///< where each frame ends
    LogPos after;
};

class SeededRandom {
  public:
    explicit SeededRandom(uint64_t seed) : engine_(seed) {}
    uint64_t below(uint64_t limit) { return engine_() % limit; }
    /// Small numbers mostly, any size sometimes.
    uint64_t number() { return engine_() >> below(64); }
    Bytes bytes(size_t size);

  private:
    std::mt19937_64 engine_;
};

StartInfo sample_start(Origin origin = Origin::kFreshBoot);
/// `count` entries in order of icount, every kind of the table among them, payloads that decode.
std::vector<Entry> sample_entries(SeededRandom& random, size_t count, Icount first = Icount(0));
/// An entry of the kind with a payload that decodes.
Entry sample_entry(SeededRandom& random, EntryKind kind, Icount icount);

/// A whole log of the entries, a frame for each `per_frame` of them.
CollectingSink write_log(const StartInfo& start, const Bytes& snapshot, const std::vector<Entry>& entries,
                         size_t per_frame, Compression compression);

}  // namespace lockstep::record
