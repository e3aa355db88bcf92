// SPDX-License-Identifier: Apache-2.0
// Pieces of a map that were moved aside with all they hold, to be given back to the host one at a time.
//
// The guest stands while a map is emptied. For the host to take the map's pages back then takes a quarter of a
// microsecond each, milliseconds for a guest that has used many GiB; to move a piece with its page table takes a
// few microseconds, whatever it holds.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace lockstep::translate {

class PiecesAside {
  public:
    /// What one page table of the host maps. A piece begins and ends at multiples of it.
    static constexpr uint64_t kPieceBytes = 2 << 20;
    enum class Kind : uint8_t {
        kPrivate,  ///< the piece reads as zeroes afterwards
        kShared,   ///< of a file, which is about to be mapped no more: its pages go with the piece
    };

    PiecesAside();
    ~PiecesAside();
    PiecesAside(const PiecesAside&) = delete;
    PiecesAside& operator=(const PiecesAside&) = delete;

    /// Moves the pages of [start, end), which lies in one piece and in one mapping, aside. A host that can't
    /// (Linux before 5.13) takes the private ones back at once.
    void move(uint64_t start, uint64_t end, Kind kind);
    /// Gives the piece that was moved first back, if there is one.
    void give_one_back();
    void give_all_back() {
        while (!is_empty()) give_one_back();
    }
    bool is_empty() const { return moved_ == given_back_; }

  private:
    static constexpr size_t kSlots = 1024;
    struct Piece {
        uint64_t start = 0, bytes = 0;  ///< where it is now
        Kind kind{};
    };
    uint64_t slot(size_t number) const { return slots_ + number % kSlots * kPieceBytes; }

    uint64_t mapping_ = 0, slots_ = 0;
    std::array<Piece, kSlots> pieces_{};
    size_t moved_ = 0, given_back_ = 0;  ///< pieces so far
};

}  // namespace lockstep::translate
