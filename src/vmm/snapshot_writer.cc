// SPDX-License-Identifier: Apache-2.0
#include "vmm/snapshot_writer.h"

#include <pthread.h>

#include "memory/page_records.h"

namespace lockstep::vmm {

namespace {

constexpr size_t kPiece = 256 << 10;

}  // namespace

SnapshotWriter::SnapshotWriter(memory::Clone& clone, FileRecording& file, Hooks hooks)
    : clone_(clone), file_(file), hooks_(std::move(hooks)), thread_([this] { hooks_.done(write()); }) {
    pthread_setname_np(thread_.native_handle(), "snapshot");
}

SnapshotWriter::~SnapshotWriter() {
    clone_.cancel();
    thread_.join();
}

Result<void> SnapshotWriter::write() {
    Bytes piece;
    piece.reserve(kPiece + memory::kLongestPageRecord);
    while (true) {
        piece.clear();
        memory::Clone::Taken taken = clone_.take(piece, kPiece);
        if (taken == memory::Clone::Taken::kVoid)
            return error("the guest was reset meanwhile, or the file took its pages too slowly; try again");
        if (!piece.empty()) file_.add_pages(piece);
        if (taken == memory::Clone::Taken::kComplete) return hooks_.written();
        if (piece.empty()) std::this_thread::yield();  // the guest is about to queue a page
    }
}

}  // namespace lockstep::vmm
