// SPDX-License-Identifier: Apache-2.0
// The Ethernet addresses that a guest has sent from of late, and the frames that announce them.
//
// A guest may have more addresses than the one of its network device: of containers, of macvlans, of guests
// within it. When it goes on on another host, every switch on the way must learn that all of them are now
// behind another port, or their packets go to the old host until the guest happens to send. Both sides see what
// the guest sends, so both know its addresses without a word between them. It is knowledge of the host alone:
// the guest neither sees nor depends on it.
//
// An address counts for kRememberNs, as long as switches remember, in the VLAN in which it was used.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "base/bytes.h"
#include "host/tap_device.h"

namespace lockstep::host {

class SourceAddresses {
  public:
    static constexpr size_t kMost = 256;  ///< beyond it the one used longest ago is forgotten
    static constexpr uint64_t kRememberNs = 300 * kNsPerSecond;

    /// Looks at an Ethernet frame that the guest sent.
    void sent(ByteSpan frame, uint64_t now_ns);
    /// A broadcast frame from each address used within kRememberNs, in its VLAN: reverse ARP, which needs no
    /// knowledge of more. Where the guest has said its IPv4 or IPv6 address, also a gratuitous ARP and an
    /// unsolicited neighbour advertisement (RFC 4861). `own` is always among them, and first.
    std::vector<Bytes> announcements(const MacAddress& own, uint64_t now_ns) const;
    size_t size() const { return known_.size(); }

  private:
    /// VLAN tags as they stand in a frame, outermost first (IEEE 802.1Q, 802.1ad).
    struct Place {
        MacAddress mac{};
        uint8_t tags = 0;  ///< how many
        std::array<std::array<uint8_t, 4>, 2> tag{};
        auto operator<=>(const Place&) const = default;
    };
    struct Use {
        uint64_t at_ns = 0;
        std::optional<std::array<uint8_t, 4>> ipv4;
        std::optional<std::array<uint8_t, 16>> ipv6;
    };
    void forget_oldest();

    std::map<Place, Use> known_;
};

}  // namespace lockstep::host
