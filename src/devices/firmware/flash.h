// SPDX-License-Identifier: Apache-2.0
// The flash memory that holds the firmware's variables: Intel's command set, a byte at a time, in blocks of 4 KiB
// (Intel StrataFlash 28F256J3 data sheet, as far as firmware uses it).
//
// Its content is state of the machine. Blocks that are still as they were at power-on are not saved.
#pragma once

#include "base/shared_bytes.h"
#include "bus/device.h"

namespace lockstep::devices {

class Flash : public bus::Device, public bus::RegisterHandler {
  public:
    /// `contents` at power-on, whole blocks.
    explicit Flash(const SharedBytes& contents);

    uint64_t size() const { return bytes_.size(); }
    ByteSpan contents() const { return bytes_; }

    std::string_view name() const override { return "flash"; }
    /// The content stays, as it does when the power fails.
    void reset() override;
    void save(ByteWriter& out) const override;
    Result<void> load(ByteReader& in) override;
    uint64_t read_register(uint64_t offset, unsigned size) override;
    void write_register(uint64_t offset, unsigned size, uint64_t value) override;

    static constexpr uint64_t kBlock = 4096;

  private:
    /// What reads give, and what the next write is.
    enum class Mode : uint8_t { kArray, kStatus, kProgram, kErase };

    void command(uint8_t value);
    void program(uint64_t offset, unsigned size, uint64_t value);
    void erase(uint64_t offset);
    bool is_changed(uint64_t block) const;

    const SharedBytes at_power_on_;
    Bytes bytes_;
    Mode mode_ = Mode::kArray;
    uint8_t status_ = 0x80;
};

}  // namespace lockstep::devices
