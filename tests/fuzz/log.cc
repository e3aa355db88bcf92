// SPDX-License-Identifier: Apache-2.0
// Logs, in files and on the channel: as they come, in pieces, and with every frame's checksums made good.
#include <algorithm>
#include <optional>

#include "base/hash.h"
#include "record/inspect.h"
#include "record/log_stream.h"
#include "target.h"

namespace lockstep::record {
namespace {

/// Why a log is refused that comes in pieces of this size; empty: it isn't.
std::string problem_of(ByteSpan bytes, size_t piece) {
    LogReader reader;
    while (!bytes.empty()) {
        size_t size = std::min(piece, bytes.size());
        reader.feed(bytes.first(size));
        bytes = bytes.subspan(size);
        for (;;) {
            Result<std::optional<Frame>> frame = reader.next();
            if (!frame) return frame.error().message();
            if (!frame.value()) break;
        }
    }
    Result<void> finished = reader.finish();
    return finished ? "" : finished.error().message();
}

void read_all(ByteSpan bytes) {
    std::string problem = problem_of(bytes, bytes.size());
    std::string in_pieces = problem_of(bytes, 7);
    CHECK(in_pieces == problem, "a log in pieces is judged otherwise: {}; {}", in_pieces, problem);
    if (!problem.empty()) return;
    LogCursor verified("the input", bytes_source(bytes)), listed("the input", bytes_source(bytes));
    (void)verify(verified);
    (void)list_entries(listed);
    LogCursor summarised("the input", bytes_source(bytes));
    (void)summarise(summarised);
    LogCursor left("left", bytes_source(bytes)), right("right", bytes_source(bytes));
    Inspection difference = first_difference(left, right);
    CHECK(difference.problem.empty(), "a good log differs from itself: {}", difference.problem);
}

/// The bytes as frames that stand behind each other, each with the checksums that it needs.
Bytes made_good(ByteSpan bytes) {
    Bytes good;
    ByteWriter out(good);
    while (bytes.size() >= kFrameHeaderSize) {
        ByteReader in(bytes.first(kFrameHeaderSize));
        FrameHeader header = FrameHeader::read(in);
        bytes = bytes.subspan(kFrameHeaderSize);
        header.magic = kLogMagic;
        header.version = kLogVersion;
        header.body_size = static_cast<uint32_t>(std::min<size_t>(header.body_size, bytes.size()));
        ByteSpan body = bytes.first(header.body_size);
        if (!(header.flags & kFrameCompressed)) header.plain_size = header.body_size;
        header.body_checksum = hash64(body);
        header.checksum = header.right_checksum();
        header.write(out);
        out.raw(body);
        bytes = bytes.subspan(body.size());
    }
    out.raw(bytes);
    return good;
}

}  // namespace
}  // namespace lockstep::record

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace lockstep;
    ByteSpan input(data, size);
    record::read_all(input);
    record::read_all(record::made_good(input));
    return 0;
}
