// SPDX-License-Identifier: Apache-2.0
// One list of fields drives both the writer and the reader of a format.
//
// A struct names its fields once:
//
//     struct Point {
//         uint64_t x = 0;
//         Bytes label;
//         template <typename Codec> void fields(Codec& codec) { codec(x, label); }
//     };
//
// encode_fields(point) and decode_fields<Point>(bytes) then agree by construction. Numbers are varints, byte
// strings and vectors carry their length; arrays and nested structs are written one after the other.
#pragma once

#include <array>
#include <deque>
#include <string>
#include <type_traits>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "base/strong.h"

namespace lockstep::record {

template <typename T>
concept Number = std::is_integral_v<T> || std::is_enum_v<T>;

class FieldWriter {
  public:
    explicit FieldWriter(ByteWriter& out) : out_(out) {}

    template <typename... Fields>
    void operator()(Fields&... fields) {
        (one(fields), ...);
    }

  private:
    template <Number T>
    void one(T& value) {
        if constexpr (sizeof(T) == 1)
            out_.fixed(static_cast<uint8_t>(value));
        else
            out_.varint(static_cast<uint64_t>(value));
    }
    template <typename Tag>
    void one(Strong<Tag>& value) {
        out_.varint(value.value());
    }
    void one(Bytes& value) { out_.blob(value); }
    void one(std::string& value) { out_.text(value); }
    template <typename T, size_t N>
    void one(std::array<T, N>& values) {
        for (T& value : values) one(value);
    }
    template <typename T>
    void one(std::vector<T>& values) {
        sequence(values);
    }
    template <typename T>
    void one(std::deque<T>& values) {
        sequence(values);
    }
    template <typename T>
    void sequence(T& values) {
        out_.varint(values.size());
        for (auto& value : values) one(value);
    }
    template <typename T>
    requires requires(T& value, FieldWriter& codec) { value.fields(codec); }
    void one(T& value) { value.fields(*this); }

    ByteWriter& out_;
};

class FieldReader {
  public:
    explicit FieldReader(ByteReader& in) : in_(in) {}

    template <typename... Fields>
    void operator()(Fields&... fields) {
        (one(fields), ...);
    }
    /// False after a number that its field can't hold.
    bool ok() const { return ok_ && in_.ok(); }

  private:
    template <Number T>
    void one(T& value) {
        if constexpr (std::is_same_v<T, bool>) {
            uint8_t number = in_.fixed<uint8_t>();
            ok_ = ok_ && number <= 1;
            value = number != 0;
        } else if constexpr (sizeof(T) == 1) {
            value = static_cast<T>(in_.fixed<uint8_t>());
        } else {
            uint64_t number = in_.varint();
            value = static_cast<T>(number);
            ok_ = ok_ && static_cast<uint64_t>(value) == number;
        }
    }
    template <typename Tag>
    void one(Strong<Tag>& value) {
        value = Strong<Tag>(in_.varint());
    }
    void one(Bytes& value) {
        ByteSpan bytes = in_.blob();
        value.assign(bytes.begin(), bytes.end());
    }
    void one(std::string& value) { value = in_.text(); }
    template <typename T, size_t N>
    void one(std::array<T, N>& values) {
        for (T& value : values) one(value);
    }
    template <typename T>
    void one(std::vector<T>& values) {
        sequence(values);
    }
    template <typename T>
    void one(std::deque<T>& values) {
        sequence(values);
    }
    // Every element takes a byte at least, so a damaged count can't make us allocate more than the input's
    // size.
    template <typename T>
    void sequence(T& values) {
        values.clear();
        uint64_t count = in_.varint();
        if (count > in_.remaining()) {
            ok_ = false;
            return;
        }
        for (uint64_t i = 0; i < count && ok(); ++i) one(values.emplace_back());
    }
    template <typename T>
    requires requires(T& value, FieldReader& codec) { value.fields(codec); }
    void one(T& value) { value.fields(*this); }

    ByteReader& in_;
    bool ok_ = true;
};

template <typename T>
void write_fields(ByteWriter& out, const T& value) {
    FieldWriter writer(out);
    const_cast<T&>(value).fields(writer);  // the writer only reads
}

/// `what` names the thing in the error.
template <typename T>
Result<void> read_fields(ByteReader& in, T& value, std::string_view what) {
    FieldReader reader(in);
    value.fields(reader);
    if (!reader.ok()) return error("{} is cut short or damaged", what);
    return {};
}

template <typename T>
Bytes encode_fields(const T& value) {
    Bytes bytes;
    ByteWriter out(bytes);
    write_fields(out, value);
    return bytes;
}

/// Refuses bytes that are too short, too long, or hold a number that its field can't.
template <typename T>
Result<T> decode_fields(ByteSpan bytes, std::string_view what) {
    T value;
    ByteReader in(bytes);
    Result<void> read = read_fields(in, value, what);
    if (!read) return read.take_error();
    if (in.remaining()) return error("{} has {} bytes too many", what, in.remaining());
    return value;
}

}  // namespace lockstep::record
