// SPDX-License-Identifier: Apache-2.0
// Byte strings and the little-endian writer and reader that every format of the project uses.
#pragma once

#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace lockstep {

using Bytes = std::vector<uint8_t>;
using ByteSpan = std::span<const uint8_t>;

/// Appends numbers and byte strings to a Bytes.
class ByteWriter {
  public:
    explicit ByteWriter(Bytes& out) : out_(out) {}

    /// Fixed width, little-endian.
    template <typename T>
    requires(std::is_integral_v<T> || std::is_enum_v<T>) void fixed(T value) {
        raw({reinterpret_cast<const uint8_t*>(&value), sizeof value});
    }
    /// LEB128: 7 bits a byte, least significant first.
    void varint(uint64_t value) {
        while (value >= 0x80) {
            out_.push_back(static_cast<uint8_t>(value | 0x80));
            value >>= 7;
        }
        out_.push_back(static_cast<uint8_t>(value));
    }
    void raw(ByteSpan bytes) { out_.insert(out_.end(), bytes.begin(), bytes.end()); }
    /// A length and the bytes.
    void blob(ByteSpan bytes) {
        varint(bytes.size());
        raw(bytes);
    }
    void text(std::string_view s) { blob({reinterpret_cast<const uint8_t*>(s.data()), s.size()}); }

  private:
    Bytes& out_;
};

/// Reads what ByteWriter wrote. After a read past the end every value is zero and ok() is false:
/// read all fields, then ask once.
class ByteReader {
  public:
    explicit ByteReader(ByteSpan in) : in_(in) {}

    template <typename T>
    requires(std::is_integral_v<T> || std::is_enum_v<T>) T fixed() {
        T value{};
        ByteSpan bytes = raw(sizeof value);
        if (bytes.size() == sizeof value) std::memcpy(&value, bytes.data(), sizeof value);
        return value;
    }
    uint64_t varint() {
        uint64_t value = 0;
        for (unsigned shift = 0; shift < 64; shift += 7) {
            uint8_t byte = fixed<uint8_t>();
            value |= uint64_t{byte & 0x7fu} << shift;
            if (!(byte & 0x80)) return value;
        }
        ok_ = false;
        return 0;
    }
    ByteSpan raw(size_t size) {
        if (size > in_.size()) {
            ok_ = false;
            in_ = {};
            return {};
        }
        ByteSpan bytes = in_.first(size);
        in_ = in_.subspan(size);
        return bytes;
    }
    ByteSpan blob() { return raw(varint()); }
    std::string text() {
        ByteSpan bytes = blob();
        return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
    }

    bool ok() const { return ok_; }
    size_t remaining() const { return in_.size(); }

  private:
    ByteSpan in_;
    bool ok_ = true;
};

}  // namespace lockstep
