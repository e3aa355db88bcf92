// SPDX-License-Identifier: Apache-2.0
#include "devices/firmware/fw_cfg.h"

#include <algorithm>
#include <array>

#include "base/check.h"

namespace lockstep::devices {

namespace {

constexpr uint16_t kSignature = 0, kFeatures = 1, kDirectory = 0x19, kFirstFile = 0x20;
constexpr uint32_t kNameBytes = 56;
constexpr uint8_t kTraditional = 1 << 0, kDma = 1 << 1;
constexpr uint64_t kDmaSignature = 0x51454d5520434647;  // "QEMU CFG"
constexpr unsigned kData = 1, kAddressHigh = 4, kAddressLow = 8;
// Bits of a request.
constexpr uint32_t kError = 1, kRead = 2, kSkip = 4, kSelect = 8, kWrite = 16;

template <typename T>
T big_endian(T value) {
    if constexpr (sizeof(T) == 2) return __builtin_bswap16(value);
    if constexpr (sizeof(T) == 4) return __builtin_bswap32(value);
    if constexpr (sizeof(T) == 8) return __builtin_bswap64(value);
}

/// A page at a time: the guest says how many, up to all that it has.
void write_zeroes(memory::GuestMemory& memory, GuestPhys to, uint64_t size) {
    static constexpr std::array<uint8_t, kPageSize> kZeroes{};
    for (uint64_t done = 0; done < size; done += kZeroes.size())
        memory.write(to + done, ByteSpan(kZeroes).first(std::min<uint64_t>(kZeroes.size(), size - done)));
}

}  // namespace

FirmwareConfig::FirmwareConfig(memory::GuestMemory& memory) : memory_(memory) {
    add_item(kSignature, {'Q', 'E', 'M', 'U'});
    add_item(kFeatures, {kTraditional | kDma, 0, 0, 0});
    add_item(kDirectory, Bytes(4));
}

void FirmwareConfig::add_file(const std::string& file_name, Bytes bytes) {
    CHECK(file_name.size() < kNameBytes);
    auto number = static_cast<uint16_t>(kFirstFile + files_++);
    ByteWriter out(directory_);
    out.fixed(big_endian(static_cast<uint32_t>(bytes.size())));
    out.fixed(big_endian(number));
    out.fixed(uint16_t{0});
    Bytes padded(file_name.begin(), file_name.end());
    padded.resize(kNameBytes);
    out.raw(padded);
    Bytes whole;
    ByteWriter(whole).fixed(big_endian(files_));
    whole.insert(whole.end(), directory_.begin(), directory_.end());
    add_item(kDirectory, std::move(whole));
    add_item(number, std::move(bytes));
}

void FirmwareConfig::select(uint16_t number) {
    state_.selected = number;
    state_.offset = 0;
}

ByteSpan FirmwareConfig::selected() const {
    auto found = items_.find(state_.selected);
    return found == items_.end() ? ByteSpan{} : ByteSpan(found->second);
}

// Behind an item's end there are zeroes.
uint8_t FirmwareConfig::next_byte() {
    ByteSpan item = selected();
    return state_.offset < item.size() ? item[state_.offset++] : uint8_t{0};
}

uint64_t FirmwareConfig::read_register(uint64_t offset, unsigned size) {
    uint64_t value = 0;
    if (offset == kData) {
        for (unsigned i = 0; i < size; ++i) value |= uint64_t{next_byte()} << 8 * i;
        return value;
    }
    if (offset < kAddressHigh) return state_.selected;
    for (unsigned i = 0; i < size && offset + i < kFirmwareConfigPorts; ++i)
        value |= (kDmaSignature >> 8 * (kFirmwareConfigPorts - 1 - offset - i) & 0xff) << 8 * i;
    return value;
}

void FirmwareConfig::write_register(uint64_t offset, unsigned size, uint64_t value) {
    if (offset == 0 && size == 2) return select(static_cast<uint16_t>(value));
    uint32_t word = big_endian(static_cast<uint32_t>(value));
    if (offset == kAddressHigh && size == 4) state_.address_high = word;
    if (offset == kAddressLow && size == 4) {
        uint64_t address = uint64_t{state_.address_high} << 32 | word;
        state_.address_high = 0;
        carry_out(address);
    }
}

void FirmwareConfig::carry_out(uint64_t address) {
    struct {
        uint32_t control, length;
        uint64_t address;
    } request;
    if (!memory_.read(GuestPhys(address), {reinterpret_cast<uint8_t*>(&request), sizeof request})) return;
    uint32_t control = big_endian(request.control), length = big_endian(request.length);
    uint64_t to = big_endian(request.address);
    if (control & kSelect) select(static_cast<uint16_t>(control >> 16));
    ByteSpan item = selected();
    uint32_t at = std::min(state_.offset, static_cast<uint32_t>(item.size()));
    uint32_t there = std::min(length, static_cast<uint32_t>(item.size()) - at);
    bool failed = control & kWrite;  // there is nothing to write to
    if ((control & kRead) && !failed) {
        failed = !memory_.is_ram(GuestPhys(to), length);
        if (!failed) memory_.write(GuestPhys(to), item.subspan(at, there));
        if (!failed) write_zeroes(memory_, GuestPhys(to) + there, length - there);
    }
    if (control & (kRead | kSkip)) state_.offset = at + there;
    memory_.write_number<uint32_t>(GuestPhys(address), big_endian(failed ? kError : uint32_t{0}));
}

}  // namespace lockstep::devices
