// SPDX-License-Identifier: Apache-2.0
// Distinct number types: an address of one kind can't be passed where another is wanted.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>

namespace lockstep {

/// A 64-bit number with a meaning of its own. Adding or subtracting a plain offset keeps the meaning;
/// the difference of two is a plain number.
template <typename Tag>
class Strong {
  public:
    constexpr Strong() = default;
    constexpr explicit Strong(uint64_t value) : value_(value) {}

    constexpr uint64_t value() const { return value_; }
    constexpr auto operator<=>(const Strong&) const = default;
    constexpr Strong operator+(uint64_t offset) const { return Strong(value_ + offset); }
    constexpr Strong operator-(uint64_t offset) const { return Strong(value_ - offset); }
    constexpr uint64_t operator-(Strong other) const { return value_ - other.value_; }
    constexpr Strong& operator+=(uint64_t offset) { return *this = *this + offset; }
    constexpr Strong& operator++() { return *this += 1; }

  private:
    uint64_t value_ = 0;
};

/// A guest virtual (linear) address.
using GuestVirt = Strong<struct GuestVirtTag>;
/// A guest physical address.
using GuestPhys = Strong<struct GuestPhysTag>;
/// Guest instructions retired since the machine was made; the machine's only clock.
using Icount = Strong<struct IcountTag>;
/// A position in a log: the number of entries before it.
using LogPos = Strong<struct LogPosTag>;
/// The number of a life of the pair; grows by one at every fail-over.
using Term = Strong<struct TermTag>;

inline constexpr Icount kNeverIcount{~uint64_t{0}};
inline constexpr uint64_t kPageSize = 4096;
inline constexpr uint64_t kPageMask = kPageSize - 1;

}  // namespace lockstep

template <typename Tag>
struct std::hash<lockstep::Strong<Tag>> {
    size_t operator()(lockstep::Strong<Tag> v) const noexcept { return std::hash<uint64_t>{}(v.value()); }
};
