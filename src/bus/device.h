// SPDX-License-Identifier: Apache-2.0
// What the rooms above the bus and the devices agree on: devices, the handlers of their registers, interrupt
// lines. What leaves the machine is in output.h.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/bytes.h"
#include "base/result.h"
#include "base/strong.h"
#include "bus/output.h"
#include "record/entry.h"

namespace lockstep::bus {

/// Reads and writes of a device's registers, by ports or by memory. `offset` counts from the start of the
/// range that the handler was registered for; `size` is 1, 2, 4 or 8.
class RegisterHandler {
  public:
    virtual ~RegisterHandler() = default;
    virtual uint64_t read_register(uint64_t offset, unsigned size) = 0;
    virtual void write_register(uint64_t offset, unsigned size, uint64_t value) = 0;
};

/// The registers of a device that has several ranges of them: two of its member functions.
template <typename Owner, uint64_t (Owner::*kRead)(uint64_t offset, unsigned size),
          void (Owner::*kWrite)(uint64_t offset, unsigned size, uint64_t value)>
class MemberRegisters final : public RegisterHandler {
  public:
    explicit MemberRegisters(Owner& owner) : owner_(owner) {}
    uint64_t read_register(uint64_t offset, unsigned size) override { return (owner_.*kRead)(offset, size); }
    void write_register(uint64_t offset, unsigned size, uint64_t value) override {
        (owner_.*kWrite)(offset, size, value);
    }

  private:
    Owner& owner_;
};

/// A level-sensitive interrupt line.
class InterruptLine {
  public:
    virtual ~InterruptLine() = default;
    virtual void set_level(bool asserted) = 0;
};

/// Receives message-signalled interrupts (Intel SDM vol. 3, 11.11).
class MessageInterrupts {
  public:
    virtual ~MessageInterrupts() = default;
    virtual void deliver_message(uint64_t address, uint32_t data) = 0;
};

/// A device of the machine. All of its guest-visible state is saved, restored and hashed through save().
class Device {
  public:
    virtual ~Device() = default;
    virtual std::string_view name() const = 0;
    /// The state after power-on.
    virtual void reset() = 0;
    virtual void save(ByteWriter& out) const = 0;
    /// Of what save() writes: another one once it changes.
    virtual uint32_t state_version() const { return 1; }
    virtual Result<void> load(ByteReader& in) = 0;
    /// Applies an input of the log that names this device.
    virtual void input(const record::Entry& entry) { (void)entry; }
    /// Bytes of input that it has room for; what is more would be lost.
    virtual size_t input_room() const { return SIZE_MAX; }
};

}  // namespace lockstep::bus
