#include "devices/legacy/pic.h"

namespace lockstep::devices {

uint64_t Pic::Chip::read_register(uint64_t offset, unsigned) {
    return offset == 1 ? pic_.state_.mask[number_] : 0;
}

void Pic::Chip::write_register(uint64_t offset, unsigned, uint64_t value) {
    uint8_t& expected = pic_.state_.words_expected[number_];
    if (offset == 0) {
        // ICW1 is followed by ICW2, ICW3 unless there is one chip only, and ICW4 where it asks for it.
        if (value & 0x10) expected = static_cast<uint8_t>(1 + !(value & 2) + (value & 1));
    } else if (expected) {
        --expected;
    } else {
        pic_.state_.mask[number_] = static_cast<uint8_t>(value);
    }
}

}  // namespace lockstep::devices
