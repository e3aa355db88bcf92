// SPDX-License-Identifier: Apache-2.0
// Puts a vCPU into 64-bit mode without a boot: page tables, descriptor tables and a task state segment
// written into guest memory. The selectors are Linux's.
//
// The tables use guest-physical memory from kSystemArea on. All of it (and the whole RAM) is also mapped for
// the kernel at kPhysicalMap + address.
#pragma once

#include <cstdint>

#include "cpu/cpu_state.h"
#include "memory/guest_memory.h"

namespace lockstep::guests {

inline constexpr uint64_t kPhysicalMap = 0xffff800000000000;
inline constexpr uint64_t kSystemArea = 0x1000;  ///< GDT, IDT, TSS and stacks
inline constexpr uint64_t kTableArea = 0x20000;  ///< page tables, up to kTableAreaEnd
inline constexpr uint64_t kTableAreaEnd = 0x100000;

inline constexpr uint16_t kKernelCode = 0x10, kKernelData = 0x18, kUserData = 0x2b, kUserCode = 0x33,
                          kTaskSelector = 0x40;

/// Bits of a page-table entry.
inline constexpr uint64_t kPresent = 1, kWritable = 2, kUser = 4, kAccessed = 0x20, kDirty = 0x40,
                          kLarge = 0x80, kGlobal = 0x100, kNoExecute = uint64_t{1} << 63;

class LongMode {
  public:
    /// Writes empty page tables with the kernel's map of the RAM, GDT, TSS, and an IDT without gates.
    explicit LongMode(memory::GuestMemory& memory);

    /// Maps a 4 KiB page with the flags of its entry; the tables above it allow everything. Returns the
    /// guest-physical address of the entry.
    uint64_t map(uint64_t linear, uint64_t physical, uint64_t flags);
    /// Maps a 2 MiB page.
    uint64_t map_large(uint64_t linear, uint64_t physical, uint64_t flags);
    /// An interrupt gate to `handler`, a linear address. `ist`: 0 or a stack of the TSS.
    void set_gate(uint8_t vector, uint64_t handler, unsigned dpl, unsigned ist = 0);
    void set_kernel_stack(uint64_t linear) { memory_.write_number<uint64_t>(GuestPhys(kTss + 4), linear); }
    void set_interrupt_stack(unsigned ist, uint64_t linear) {
        memory_.write_number<uint64_t>(GuestPhys(kTss + 36 + 8 * (ist - 1)), linear);
    }

    /// The state of kernel code at `rip`, interrupts off; `user`: of user code, with null data segments.
    void enter_kernel(cpu::CpuState& state, uint64_t rip, uint64_t rsp) const;
    void enter_user(cpu::CpuState& state, uint64_t rip, uint64_t rsp) const;

    uint64_t root() const { return root_; }
    /// Further page tables: a new root that shares the upper half; becomes the one that map() works on.
    uint64_t add_address_space();
    void use_address_space(uint64_t root) { root_ = root; }

  private:
    static constexpr uint64_t kGdt = kSystemArea, kIdt = kSystemArea + 0x1000, kTss = kSystemArea + 0x2000;

    uint64_t new_table();
    /// The entry of `linear` at a level (4: root ... 1), with the tables above made where they are missing.
    uint64_t entry_at(uint64_t linear, unsigned level);
    void write_descriptors();
    void set_control_state(cpu::CpuState& state) const;

    memory::GuestMemory& memory_;
    uint64_t next_table_ = kTableArea;
    uint64_t root_ = 0;
};

}  // namespace lockstep::guests
