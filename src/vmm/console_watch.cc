// SPDX-License-Identifier: Apache-2.0
#include "vmm/console_watch.h"

#include "base/foreign_text.h"

namespace lockstep::vmm {

namespace {

constexpr size_t kLongestLine = 1024;  // the rest of a longer one isn't looked at
constexpr std::string_view kPanic = "Kernel panic - not syncing";
constexpr std::string_view kEndOfPanic = "end Kernel panic";  // the kernel says it again

}  // namespace

void ConsoleWatch::printed(uint16_t device, ByteSpan bytes, uint64_t now_ns) {
    std::string& line = lines_[device];
    for (uint8_t byte : bytes) {
        if (byte == '\n') {
            line_ended(line, now_ns);
            line.clear();
        } else if (line.size() < kLongestLine) {
            line += static_cast<char>(byte);
        }
    }
}

void ConsoleWatch::line_ended(const std::string& line, uint64_t now_ns) {
    size_t at = line.find(kPanic);
    if (at == std::string::npos || line.find(kEndOfPanic) != std::string::npos) return;
    ++panics_;
    last_panic_ = foreign_text(std::string_view(line).substr(at, line.find_last_not_of("\r ") + 1 - at));
    last_panic_ns_ = now_ns;
}

}  // namespace lockstep::vmm
