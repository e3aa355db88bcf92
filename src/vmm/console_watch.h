// SPDX-License-Identifier: Apache-2.0
// What the guest's console says of its kernel: panics, by the words that Linux prints.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "base/bytes.h"

namespace lockstep::vmm {

class ConsoleWatch {
  public:
    /// The guest printed `bytes` at the port `device`.
    void printed(uint16_t device, ByteSpan bytes, uint64_t now_ns);

    uint64_t panics() const { return panics_; }
    /// The line of the last one, clean and short, and when it came. Empty and 0: there was none.
    const std::string& last_panic() const { return last_panic_; }
    uint64_t last_panic_ns() const { return last_panic_ns_; }

  private:
    void line_ended(const std::string& line, uint64_t now_ns);

    std::map<uint16_t, std::string> lines_;  ///< of each port, the one that is being printed
    uint64_t panics_ = 0;
    std::string last_panic_;
    uint64_t last_panic_ns_ = 0;
};

}  // namespace lockstep::vmm
