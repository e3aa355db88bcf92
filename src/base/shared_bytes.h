// SPDX-License-Identifier: Apache-2.0
// A byte string that several own and nobody changes: files of tens of megabytes are in memory once.
#pragma once

#include <memory>
#include <utility>

#include "base/bytes.h"

namespace lockstep {

class SharedBytes {
  public:
    SharedBytes() = default;
    SharedBytes(Bytes bytes)  // NOLINT(google-explicit-constructor): as good as what it is made of
        : whole_(std::make_shared<const Bytes>(std::move(bytes))), span_(*whole_) {}

    operator ByteSpan() const { return span_; }  // NOLINT(google-explicit-constructor)
    ByteSpan span() const { return span_; }
    size_t size() const { return span_.size(); }
    bool empty() const { return span_.empty(); }
    /// `part` of it, which lives as long as any of its owners.
    SharedBytes sharing(ByteSpan part) const {
        SharedBytes other;
        other.whole_ = whole_;
        other.span_ = part;
        return other;
    }

  private:
    std::shared_ptr<const Bytes> whole_;
    ByteSpan span_;
};

}  // namespace lockstep
