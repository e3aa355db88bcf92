// SPDX-License-Identifier: Apache-2.0
#include "translate/pieces_aside.h"

#include <sys/mman.h>

#include "base/check.h"
#include "memory/placement.h"

namespace lockstep::translate {

namespace {

constexpr int kNothing = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
constexpr uint64_t kPieceMask = PiecesAside::kPieceBytes - 1;

void* pointer(uint64_t address) { return reinterpret_cast<void*>(address); }

}  // namespace

PiecesAside::PiecesAside() {
    constexpr uint64_t kBytes = (kSlots + 1) * kPieceBytes;
    void* mapped = mmap(memory::apart_from_programs(kBytes), kBytes, PROT_NONE, kNothing, -1, 0);
    CHECK(mapped != MAP_FAILED, "the host refuses {} MiB of address space for the shadow maps", kBytes >> 20);
    mapping_ = reinterpret_cast<uint64_t>(mapped);
    slots_ = (mapping_ + kPieceMask) & ~kPieceMask;
}

PiecesAside::~PiecesAside() {
    give_all_back();
    munmap(pointer(mapping_), (kSlots + 1) * kPieceBytes);
}

// At the same offset in the slot: the host moves the page table as a whole then.
void PiecesAside::move(uint64_t start, uint64_t end, Kind kind) {
    if (moved_ - given_back_ == kSlots) give_one_back();
    Piece piece{.start = slot(moved_) + (start & kPieceMask), .bytes = end - start, .kind = kind};
    constexpr int kFlags = MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP;
    if (mremap(pointer(start), piece.bytes, piece.bytes, kFlags, pointer(piece.start)) != MAP_FAILED)
        pieces_[moved_++ % kSlots] = piece;
    else if (kind == Kind::kPrivate)
        CHECK(madvise(pointer(start), piece.bytes, MADV_DONTNEED) == 0, "the host refuses to empty a map");
}

void PiecesAside::give_one_back() {
    if (is_empty()) return;
    const Piece& piece = pieces_[given_back_++ % kSlots];
    void* place = pointer(piece.start);
    // A file's pages don't go with one of its mappings.
    if (piece.kind == Kind::kShared) madvise(place, piece.bytes, MADV_REMOVE);
    CHECK(mmap(place, piece.bytes, PROT_NONE, kNothing | MAP_FIXED, -1, 0) == place,
          "the host refuses to take a piece of a map back");
}

}  // namespace lockstep::translate
