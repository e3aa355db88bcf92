// SPDX-License-Identifier: Apache-2.0
// Packets of gdb's remote serial protocol, "$text#checksum" (gdb's manual, appendix "Overview" of the protocol).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.h"

namespace lockstep::debug {

/// What came over the wire.
struct GdbEvent {
    enum class What : uint8_t {
        kPacket,
        kInterrupt,    ///< a byte 3 outside of packets: the user presses Ctrl-C
        kBadChecksum,  ///< a packet that is to be sent again
        kNotReceived,  ///< "-": the other side wants the last packet again
    };
    What what{};
    std::string text;  ///< of a packet, with its escapes undone
};

class GdbReader {
  public:
    static constexpr size_t kLongestPacket = 64 << 10;

    void feed(ByteSpan bytes) { buffer_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size()); }
    /// The next event; empty where more bytes are needed.
    std::optional<GdbEvent> next();
    /// Whether an interrupt has come; it is taken.
    bool take_interrupt();
    /// What can't be a packet any more.
    bool too_long() const { return buffer_.size() > 2 * kLongestPacket; }

  private:
    std::string buffer_;
};

/// A packet with this text; bytes that mean something to the protocol are escaped.
std::string gdb_packet(std::string_view text);

std::string hex_of(ByteSpan bytes);
/// Empty where it isn't pairs of hexadecimal digits.
std::optional<Bytes> bytes_of_hex(std::string_view text);
/// The number in hexadecimal digits that `text` begins with, which are taken off it; empty where there are none, or too many.
std::optional<uint64_t> take_hex(std::string_view& text);
/// Takes `what` off the start of `text`, if it begins so.
bool take_text(std::string_view& text, std::string_view what);

}  // namespace lockstep::debug
