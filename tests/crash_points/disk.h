// SPDX-License-Identifier: Apache-2.0
// A disk that both hosts share: an image that stays as it is, and what has been written to it.
#pragma once

#include <algorithm>
#include <array>
#include <map>
#include <utility>

#include "base/bytes.h"

namespace lockstep::crash_points {

class Disk {
  public:
    static constexpr uint64_t kSector = 512;
    using Sector = std::array<uint8_t, kSector>;
    using Sectors = std::map<uint64_t, Sector>;  ///< by number

    /// The image lives longer. Behind its end there are zeroes.
    explicit Disk(ByteSpan image) : image_(image) {}

    uint64_t size() const { return (image_.size() + kSector - 1) / kSector * kSector; }

    Bytes read(uint64_t offset, uint64_t size) const {
        Bytes bytes;
        bytes.reserve(size);
        for (uint64_t number = offset / kSector; bytes.size() < size; ++number) {
            Sector sector = at(number);
            bytes.insert(bytes.end(), sector.begin(), sector.end());
        }
        return bytes;
    }
    void write(uint64_t offset, ByteSpan bytes) {
        for (uint64_t done = 0; done < bytes.size(); done += kSector)
            std::copy_n(bytes.begin() + static_cast<ptrdiff_t>(done), kSector,
                        written_[(offset + done) / kSector].begin());
    }
    Sector at(uint64_t number) const {
        if (auto found = written_.find(number); found != written_.end()) return found->second;
        Sector sector{};
        uint64_t start = std::min<uint64_t>(number * kSector, image_.size());
        ByteSpan part = image_.subspan(start, std::min<uint64_t>(kSector, image_.size() - start));
        std::copy(part.begin(), part.end(), sector.begin());
        return sector;
    }
    const Sectors& written() const { return written_; }

  private:
    ByteSpan image_;
    Sectors written_;
};

}  // namespace lockstep::crash_points
