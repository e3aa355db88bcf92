// SPDX-License-Identifier: Apache-2.0
// What comes from whoever reaches the port of a debugged recording.
#include <algorithm>
#include <utility>

#include "debug/gdb_wire.h"
#include "target.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace lockstep;
    using debug::GdbEvent;
    // In two pieces, the first as long as the first byte says.
    size_t first = size ? std::min<size_t>(data[0], size) : 0;
    debug::GdbReader reader;
    reader.feed({data, first});
    bool more = true;
    while (true) {
        std::optional<GdbEvent> event = reader.next();
        if (!event && !std::exchange(more, false)) break;
        if (!event) reader.feed({data + first, size - first});
        if (!event || event->what != GdbEvent::What::kPacket) continue;
        debug::GdbReader again;
        std::string packet = debug::gdb_packet(event->text);
        again.feed({reinterpret_cast<const uint8_t*>(packet.data()), packet.size()});
        std::optional<GdbEvent> same = again.next();
        CHECK(same && same->what == GdbEvent::What::kPacket && same->text == event->text,
              "a packet is another one once it is written again");
        std::string_view rest = event->text;
        while (debug::take_hex(rest) || !rest.empty())
            if (!rest.empty()) rest.remove_prefix(1);
        if (auto bytes = debug::bytes_of_hex(event->text))
            CHECK(bytes->size() * 2 == event->text.size(), "hexadecimal digits are lost");
    }
    (void)reader.take_interrupt();
    return 0;
}
