// SPDX-License-Identifier: Apache-2.0
#include "vmm/snapshot_loader.h"

#include <algorithm>
#include <functional>

#include "host/files.h"
#include "record/log_stream.h"
#include "vmm/file_recording.h"

namespace lockstep::vmm {

namespace {

constexpr size_t kChunk = 1 << 20;

/// Shows the frames of a file until `visit` is content.
Result<void> read_frames(const std::string& path, const std::function<Result<bool>(record::Frame&)>& visit) {
    host::MappedFile file = TRY(host::MappedFile::open(path));
    record::LogReader reader(TRY(own_identity()));
    for (ByteSpan rest = file.bytes();;) {
        auto frame = reader.next();
        if (!frame) return error("{}: {}", path, frame.error().message());
        if (frame.value()) {
            Result<bool> content = visit(*frame.value());
            if (!content) return error("{}: {}", path, content.error().message());
            if (content.value()) return {};
            continue;
        }
        if (rest.empty()) return error("{}: it ends before the snapshot is whole; make another", path);
        size_t size = std::min(kChunk, rest.size());
        reader.feed(rest.first(size));
        rest = rest.subspan(size);
    }
}

}  // namespace

Result<std::optional<drive::DriverCounts>> SnapshotLoader::take(const record::SnapshotPiece& piece) {
    std::optional<drive::DriverCounts> counts;
    if (!piece.last) {
        TRY(pages_.take(piece.bytes));
        return counts;
    }
    ByteReader in(piece.bytes);
    TRY(pages_.take_to_end(in));
    counts = TRY(drive::load_without_memory(machine_, in.raw(in.remaining())));
    return counts;
}

Result<record::StartInfo> read_snapshot_start(const std::string& path) {
    record::StartInfo found;
    TRY(read_frames(path, [&](record::Frame& frame) -> Result<bool> {
        auto* start = std::get_if<record::StartInfo>(&frame.content);
        if (!start || start->origin != record::Origin::kSnapshot)
            return error(
                "it begins at power-on; only what `lockstep snapshot` has written can be gone on from");
        found = std::move(*start);
        return true;
    }));
    return found;
}

Result<drive::DriverCounts> load_snapshot(const std::string& path, machine::Machine& machine) {
    SnapshotLoader loader(machine);
    drive::DriverCounts counts;
    auto take = [&](record::Frame& frame) -> Result<bool> {
        auto* piece = std::get_if<record::SnapshotPiece>(&frame.content);
        if (!piece) return false;
        std::optional<drive::DriverCounts> last = TRY(loader.take(*piece));
        if (last) counts = *last;
        return last.has_value();
    };
    TRY(read_frames(path, take));
    return counts;
}

}  // namespace lockstep::vmm
