// SPDX-License-Identifier: Apache-2.0
// Puts pages where they belong, as they arrive: the other side of a clone. The memory is that of a machine that
// doesn't run; it is cleared first. A page that comes again takes the place of the earlier one.
#pragma once

#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "memory/guest_memory.h"

namespace lockstep::memory {

class PageLoader {
  public:
    explicit PageLoader(GuestMemory& memory);

    /// Takes whole records (page_records.h), without an end, as Clone::take() writes them.
    Result<void> take(ByteSpan records);
    /// Takes records up to their end.
    Result<void> take_to_end(ByteReader& in);

  private:
    void put(uint64_t page, ByteSpan contents);

    GuestMemory& memory_;
    std::vector<bool> filled_;  // by page: whether it has had contents; zeroes for others cost no memory
};

}  // namespace lockstep::memory
