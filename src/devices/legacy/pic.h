// The two 8259 interrupt controllers, as far as a kernel with an I/O APIC looks at them: mask registers that
// can be written and read back. No interrupt comes through them.
#pragma once

#include <array>

#include "devices/device_state.h"

namespace lockstep::devices {

inline constexpr uint16_t kPicPorts[] = {0x20, 0xa0};
inline constexpr uint16_t kPicPortCount = 2;

struct PicState {
    std::array<uint8_t, 2> mask{0xff, 0xff};
    std::array<uint8_t, 2> words_expected{};  ///< initialisation command words still to come
    template <typename Codec>
    void fields(Codec& codec) {
        codec(mask, words_expected);
    }
};

class Pic : public StateDevice<PicState> {
  public:
    Pic() : chips_{Chip(*this, 0), Chip(*this, 1)} {}
    bus::RegisterHandler& chip(unsigned number) { return chips_[number]; }

    std::string_view name() const override { return "pic"; }
    void reset() override { state_ = {}; }

  private:
    class Chip : public bus::RegisterHandler {
      public:
        Chip(Pic& pic, unsigned number) : pic_(pic), number_(number) {}
        uint64_t read_register(uint64_t offset, unsigned size) override;
        void write_register(uint64_t offset, unsigned size, uint64_t value) override;

      private:
        Pic& pic_;
        unsigned number_;
    };
    std::array<Chip, 2> chips_;
};

}  // namespace lockstep::devices
