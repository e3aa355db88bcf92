// SPDX-License-Identifier: Apache-2.0
#include "kit/long_mode.h"

#include "base/check.h"

namespace lockstep::guests {

namespace {

constexpr uint64_t kAddressMask = 0x000ffffffffff000;
// CR0: PG AM WP NE ET MP PE; CR4: FSGSBASE OSXMMEXCPT OSFXSR PGE PAE; EFER: NXE LMA LME SCE
constexpr uint64_t kCr0 = 0x80050033, kCr4 = 0x106a0, kEfer = 0xd01;

cpu::SegmentRegister flat_segment(uint16_t selector, uint16_t attributes) {
    cpu::SegmentRegister segment;
    segment.selector = selector;
    segment.attributes = attributes;
    segment.limit = 0xffffffff;
    return segment;
}

}  // namespace

LongMode::LongMode(memory::GuestMemory& memory) : memory_(memory) {
    root_ = new_table();
    for (uint64_t at = 0; at < memory.low_ram_size(); at += 2 << 20)
        map_large(kPhysicalMap + at, at, kPresent | kWritable | kAccessed | kDirty);
    write_descriptors();
}

uint64_t LongMode::new_table() {
    CHECK(next_table_ < kTableAreaEnd, "no room for page tables");
    uint64_t table = next_table_;
    next_table_ += kPageSize;
    return table;
}

uint64_t LongMode::add_address_space() {
    uint64_t old = root_;
    root_ = new_table();
    for (uint64_t i = 256; i < 512; ++i)
        memory_.write_number(GuestPhys(root_ + 8 * i), memory_.read_number<uint64_t>(GuestPhys(old + 8 * i)));
    return root_;
}

uint64_t LongMode::entry_at(uint64_t linear, unsigned level) {
    uint64_t table = root_;
    for (unsigned at_level = 4;; --at_level) {
        uint64_t entry = table + 8 * (linear >> (12 + 9 * (at_level - 1)) & 511);
        if (at_level == level) return entry;
        uint64_t value = memory_.read_number<uint64_t>(GuestPhys(entry));
        if (!(value & kPresent)) {
            value = new_table() | kPresent | kWritable | kUser;
            memory_.write_number(GuestPhys(entry), value);
        }
        table = value & kAddressMask;
    }
}

uint64_t LongMode::map(uint64_t linear, uint64_t physical, uint64_t flags) {
    uint64_t entry = entry_at(linear, 1);
    memory_.write_number(GuestPhys(entry), physical | flags);
    return entry;
}

uint64_t LongMode::map_large(uint64_t linear, uint64_t physical, uint64_t flags) {
    uint64_t entry = entry_at(linear, 2);
    memory_.write_number(GuestPhys(entry), physical | flags | kLarge);
    return entry;
}

void LongMode::set_gate(uint8_t vector, uint64_t handler, unsigned dpl, unsigned ist) {
    constexpr uint64_t kInterruptGate = 14, kPresentGate = 0x80;
    uint64_t low = (handler & 0xffff) | uint64_t{kKernelCode} << 16 | uint64_t{ist} << 32 |
                   (kPresentGate | uint64_t{dpl} << 5 | kInterruptGate) << 40 |
                   (handler >> 16 & 0xffff) << 48;
    memory_.write_number(GuestPhys(kIdt + 16 * vector), low);
    memory_.write_number(GuestPhys(kIdt + 16 * vector + 8), handler >> 32);
}

void LongMode::write_descriptors() {
    constexpr uint64_t kTssLimit = 103;
    uint64_t tss = kPhysicalMap + kTss;
    uint64_t busy_tss = kTssLimit | (tss & 0xffffff) << 16 | uint64_t{0x8b} << 40 | (tss >> 24 & 0xff) << 56;
    const uint64_t descriptors[] = {
        0,
        0,
        0x00af9b000000ffff,
        0x00cf93000000ffff,
        0x00cffb000000ffff,
        0x00cff3000000ffff,
        0x00affb000000ffff,
        0,
        busy_tss,
        tss >> 32,
    };
    for (size_t i = 0; i < std::size(descriptors); ++i)
        memory_.write_number(GuestPhys(kGdt + 8 * i), descriptors[i]);
    memory_.write_number<uint16_t>(GuestPhys(kTss + 102), kTssLimit + 1);  // no I/O bitmap
}

void LongMode::set_control_state(cpu::CpuState& state) const {
    state.cr0 = kCr0;
    state.cr2 = 0;
    state.cr3 = root_;
    state.cr4 = kCr4;
    state.efer = kEfer;
    state.gdtr = {kPhysicalMap + kGdt, 0x7f};
    state.idtr = {kPhysicalMap + kIdt, 0xfff};
    state.tr = flat_segment(kTaskSelector, 0x8b);
    state.tr.limit = 103;
    state.tr.base = kPhysicalMap + kTss;
    state.ldtr = {};
    state.rflags = 2;
    state.halted = 0;
    state.interrupt_shadow = 0;
    for (cpu::SegmentRegister& segment : state.segments) segment = {};
    state.fx = {};
    state.fx.bytes[0] = 0x7f;  // x87 control word 0x37f
    state.fx.bytes[1] = 0x03;
    state.fx.bytes[24] = 0x80;  // MXCSR 0x1f80
    state.fx.bytes[25] = 0x1f;
}

void LongMode::enter_kernel(cpu::CpuState& state, uint64_t rip, uint64_t rsp) const {
    set_control_state(state);
    state.segments[cpu::kCs] = flat_segment(kKernelCode, 0xa09b);
    state.segments[cpu::kSs] = flat_segment(kKernelData, 0xc093);
    state.rip = rip;
    state.gpr[cpu::kRsp] = rsp;
}

void LongMode::enter_user(cpu::CpuState& state, uint64_t rip, uint64_t rsp) const {
    set_control_state(state);
    state.segments[cpu::kCs] = flat_segment(kUserCode, 0xa0fb);
    state.segments[cpu::kSs] = flat_segment(kUserData, 0xc0f3);
    state.rflags = 0x202;
    state.rip = rip;
    state.gpr[cpu::kRsp] = rsp;
}

}  // namespace lockstep::guests
