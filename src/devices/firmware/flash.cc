// SPDX-License-Identifier: Apache-2.0
#include "devices/firmware/flash.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"

namespace lockstep::devices {

namespace {

constexpr uint8_t kReadStatus = 0x70, kClearStatus = 0x50, kProgramByte = 0x10, kProgramByteToo = 0x40,
                  kEraseBlock = 0x20, kConfirm = 0xd0;
constexpr uint8_t kReady = 0x80, kSequenceError = 0x30;

}  // namespace

Flash::Flash(const SharedBytes& contents) : at_power_on_(contents) {
    ByteSpan bytes = contents;
    CHECK(bytes.size() % kBlock == 0, "flash of {} bytes", bytes.size());
    bytes_.assign(bytes.begin(), bytes.end());
}

void Flash::reset() {
    mode_ = Mode::kArray;
    status_ = kReady;
}

bool Flash::is_changed(uint64_t block) const {
    return std::memcmp(&bytes_[block * kBlock], at_power_on_.span().data() + block * kBlock, kBlock) != 0;
}

void Flash::save(ByteWriter& out) const {
    out.fixed(mode_);
    out.fixed(status_);
    for (uint64_t block = 0; block < bytes_.size() / kBlock; ++block) {
        if (!is_changed(block)) continue;
        out.varint(block + 1);
        out.raw({&bytes_[block * kBlock], kBlock});
    }
    out.varint(0);
}

Result<void> Flash::load(ByteReader& in) {
    mode_ = in.fixed<Mode>();
    status_ = in.fixed<uint8_t>();
    ByteSpan first = at_power_on_;
    bytes_.assign(first.begin(), first.end());
    for (uint64_t block; (block = in.varint()) != 0;) {
        ByteSpan contents = in.raw(kBlock);
        if (!in.ok() || block > bytes_.size() / kBlock)
            return error("the saved state of {} is damaged", name());
        std::copy(contents.begin(), contents.end(), &bytes_[(block - 1) * kBlock]);
    }
    if (!in.ok() || mode_ > Mode::kErase) return error("the saved state of {} is damaged", name());
    return {};
}

uint64_t Flash::read_register(uint64_t offset, unsigned size) {
    uint64_t value = 0;
    if (mode_ == Mode::kArray) {
        std::memcpy(&value, &bytes_[offset], size);
        return value;
    }
    for (unsigned i = 0; i < size; ++i) value |= uint64_t{status_} << 8 * i;
    return value;
}

void Flash::write_register(uint64_t offset, unsigned size, uint64_t value) {
    switch (mode_) {
        case Mode::kProgram:
            return program(offset, size, value);
        case Mode::kErase:
            if ((value & 0xff) == kConfirm) return erase(offset);
            status_ |= kSequenceError;
            mode_ = Mode::kStatus;
            return;
        default:
            return command(static_cast<uint8_t>(value));
    }
}

// What is no command of these makes reads give the array.
void Flash::command(uint8_t value) {
    switch (value) {
        case kProgramByte:
        case kProgramByteToo:
            mode_ = Mode::kProgram;
            break;
        case kEraseBlock:
            mode_ = Mode::kErase;
            break;
        case kReadStatus:
            mode_ = Mode::kStatus;
            break;
        case kClearStatus:
            status_ = 0;
            mode_ = Mode::kArray;
            break;
        default:
            mode_ = Mode::kArray;
    }
}

// Programming clears bits; only an erased block has them set.
void Flash::program(uint64_t offset, unsigned size, uint64_t value) {
    for (unsigned i = 0; i < size; ++i) bytes_[offset + i] &= static_cast<uint8_t>(value >> 8 * i);
    status_ |= kReady;
    mode_ = Mode::kStatus;
}

void Flash::erase(uint64_t offset) {
    std::memset(&bytes_[offset / kBlock * kBlock], 0xff, kBlock);
    status_ |= kReady;
    mode_ = Mode::kStatus;
}

}  // namespace lockstep::devices
