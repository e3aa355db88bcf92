// SPDX-License-Identifier: Apache-2.0
// What the vCPU needs of the rest of the machine: buses, the local APIC, time. Implemented by machine/.
#pragma once

#include <cstdint>
#include <optional>

#include "base/strong.h"
#include "base/time_line.h"

namespace lockstep::cpu {

class Platform {
  public:
    virtual ~Platform() = default;

    /// `size` is 1, 2, 4 or 8; addresses that nobody answers read as all ones.
    virtual uint64_t read_mmio(GuestPhys at, unsigned size) = 0;
    virtual void write_mmio(GuestPhys at, unsigned size, uint64_t value) = 0;
    virtual uint32_t read_port(uint16_t port, unsigned size) = 0;
    virtual void write_port(uint16_t port, unsigned size, uint32_t value) = 0;

    /// The local APIC: whether an interrupt of sufficient priority waits, and its vector when the vCPU takes
    /// it.
    virtual bool interrupt_pending() const = 0;
    virtual uint8_t acknowledge_interrupt() = 0;

    /// MSRs of the local APIC and of time (IA32_TSC, IA32_TSC_DEADLINE, IA32_APIC_BASE, x2APIC 0x800..0x8ff).
    /// Empty / false: a general protection fault.
    virtual std::optional<uint64_t> read_msr(uint32_t number) = 0;
    virtual bool write_msr(uint32_t number, uint64_t value) = 0;
    /// CR8, the task priority.
    virtual uint64_t task_priority() const = 0;
    virtual void set_task_priority(uint64_t value) = 0;

    /// The time stamp counter; it holds until the next call above, or until a change from outside between two
    /// runs.
    virtual TimeLine tsc_line() const = 0;

    /// The icount of the next timer; the vCPU stops there. Asked again after every call above that may change
    /// it.
    virtual Icount next_event() const = 0;
    /// True once the guest has switched itself off or asked for a reset: the vCPU stops before its next
    /// instruction.
    virtual bool leave_requested() const = 0;
};

}  // namespace lockstep::cpu
