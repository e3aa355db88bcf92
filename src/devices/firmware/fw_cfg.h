// SPDX-License-Identifier: Apache-2.0
// The device by which firmware learns what the machine is made of (QEMU, docs/specs/fw_cfg.rst): items by number, some of
// which are files with names.
//
//     port 510   selector (2 bytes)
//     port 511   the item's bytes, one after the other
//     port 514   address of a request in memory (8 bytes, big-endian): read, skip, select; the lower half starts it
#pragma once

#include <map>
#include <string>

#include "devices/device_state.h"
#include "memory/guest_memory.h"

namespace lockstep::devices {

inline constexpr uint16_t kFirmwareConfigPort = 0x510, kFirmwareConfigPorts = 12;

struct FirmwareConfigState {
    uint16_t selected = 0;
    uint32_t offset = 0;
    uint32_t address_high = 0;
    template <typename Codec>
    void fields(Codec& codec) {
        codec(selected, offset, address_high);
    }
};

class FirmwareConfig : public StateDevice<FirmwareConfigState>, public bus::RegisterHandler {
  public:
    explicit FirmwareConfig(memory::GuestMemory& memory);

    /// Before the machine runs: an item, or a file.
    void add_item(uint16_t number, Bytes bytes) { items_[number] = std::move(bytes); }
    void add_file(const std::string& file_name, Bytes bytes);

    std::string_view name() const override { return "fw_cfg"; }
    void reset() override { state_ = {}; }
    uint64_t read_register(uint64_t offset, unsigned size) override;
    void write_register(uint64_t offset, unsigned size, uint64_t value) override;

  private:
    void select(uint16_t number);
    ByteSpan selected() const;
    uint8_t next_byte();
    void carry_out(uint64_t address);

    memory::GuestMemory& memory_;
    std::map<uint16_t, Bytes> items_;
    Bytes directory_;  ///< the files' entries
    uint32_t files_ = 0;
};

}  // namespace lockstep::devices
