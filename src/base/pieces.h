// SPDX-License-Identifier: Apache-2.0
// A long byte string in pieces, which is put together only where it leaves: what is in it isn't copied.
#pragma once

#include <cstddef>
#include <utility>
#include <vector>

#include "base/bytes.h"

namespace lockstep {

class Pieces {
  public:
    Pieces() = default;
    explicit Pieces(Bytes bytes) { add(std::move(bytes)); }

    /// Adds at the end. Short strings are joined, so that there are not many pieces.
    void add(Bytes bytes) {
        size_ += bytes.size();
        if (bytes.size() >= kLong) {
            pieces_.push_back(std::move(bytes));
            open_ = false;
        } else if (open_ && pieces_.back().size() + bytes.size() <= kLong) {
            pieces_.back().insert(pieces_.back().end(), bytes.begin(), bytes.end());
        } else if (!bytes.empty()) {
            pieces_.emplace_back().reserve(kLong);
            pieces_.back().assign(bytes.begin(), bytes.end());
            open_ = true;
        }
    }

    /// In all pieces, in bytes.
    size_t size() const { return size_; }
    const std::vector<Bytes>& all() const { return pieces_; }
    /// The pieces; this object is empty then.
    std::vector<Bytes> take_all() {
        size_ = 0;
        open_ = false;
        return std::exchange(pieces_, {});
    }
    /// The pieces, one behind the other; this object is empty then.
    Bytes take_joined() {
        size_t size = size_;
        std::vector<Bytes> pieces = take_all();
        if (pieces.size() == 1) return std::move(pieces.front());
        Bytes joined;
        joined.reserve(size);
        for (const Bytes& piece : pieces) joined.insert(joined.end(), piece.begin(), piece.end());
        return joined;
    }

    /// Whether the joined strings are equal.
    bool operator==(const Pieces& other) const {
        return Pieces(*this).take_joined() == Pieces(other).take_joined();
    }

  private:
    static constexpr size_t kLong = 4096;

    std::vector<Bytes> pieces_;
    size_t size_ = 0;
    bool open_ = false;  ///< the last piece takes more
};

}  // namespace lockstep
