// SPDX-License-Identifier: Apache-2.0
// How a block reaches guest memory: the address, the page in the shadow map, and the rare cases.
#include <algorithm>
#include <bit>
#include <utility>

#include "base/check.h"
#include "translate/block_builder.h"
#include "translate/host_window.h"
#include "translate/shadow_map.h"

namespace lockstep::translate {

namespace {

bool is_gpr(ZydisRegister reg) {
    ZydisRegisterClass register_class = ZydisRegisterGetClass(reg);
    return register_class == ZYDIS_REGCLASS_GPR64 || register_class == ZYDIS_REGCLASS_GPR32 ||
           register_class == ZYDIS_REGCLASS_GPR16;
}

uint8_t alignment_of(uint64_t value) {
    return static_cast<uint8_t>(value ? std::min<uint64_t>(uint64_t{1} << std::countr_zero(value), 64) : 64);
}

}  // namespace

HostMem BlockBuilder::slot(uint8_t number) const {
    return {.base = kHostR15,
            .disp = static_cast<int32_t>(offsetof(cpu::CpuState, gpr) + number * 8) - kStateBias};
}

HostMem BlockBuilder::segment_base(cpu::Segment segment) const {
    size_t offset = offsetof(cpu::CpuState, segments) + segment * sizeof(cpu::SegmentRegister) +
                    offsetof(cpu::SegmentRegister, base);
    return {.base = kHostR15, .disp = static_cast<int32_t>(offset) - kStateBias};
}

void BlockBuilder::load_guest(HostReg to, uint8_t number) {
    if (number >= cpu::kR10) {
        asm_.load(to, slot(number));
    } else {
        asm_.mov(to, static_cast<HostReg>(number));
    }
}

HostMem BlockBuilder::engine_slot(unsigned number) const {
    size_t offset = offsetof(cpu::CpuState, engine_slots) + number * sizeof(uint64_t);
    return {.base = kHostR15, .disp = static_cast<int32_t>(offset) - kStateBias};
}

// A member of a shared look-up, and an access in the window, leave a displacement to the access itself.
BlockBuilder::Address BlockBuilder::emit_address(const ZydisDecodedOperand& operand, bool may_stay_in_base,
                                                 Sharing sharing) {
    const auto& mem = operand.mem;
    const GuestInstruction& instruction = run_[index_];
    unsigned width = instruction.decoded.address_width;
    bool narrow = width < 64;
    bool segment = mem.type == ZYDIS_MEMOP_TYPE_MEM &&
                   (mem.segment == ZYDIS_REGISTER_FS || mem.segment == ZYDIS_REGISTER_GS);
    uint64_t displacement = static_cast<uint64_t>(mem.disp.value);
    bool rip = mem.base == ZYDIS_REGISTER_RIP || mem.base == ZYDIS_REGISTER_EIP;
    Address address;
    address.stack_segment = mem.segment == ZYDIS_REGISTER_SS;

    bool alone = mem.base == ZYDIS_REGISTER_NONE && mem.index == ZYDIS_REGISTER_NONE;
    if (source_.mode.window && segment && alone && !narrow && keeps_displacement(sharing)) {
        asm_.load(kHostR14, segment_base(mem.segment == ZYDIS_REGISTER_FS ? cpu::kFs : cpu::kGs));
        address.disp = static_cast<int32_t>(mem.disp.value);
        return address;
    }
    if (rip || alone) {
        uint64_t constant = displacement + (rip ? instruction.next_pc() : 0);
        if (narrow) constant &= width == 16 ? 0xffff : 0xffffffff;
        if (rip && !narrow) {
            emit_guest_address(kHostR14, constant);
        } else {
            relocatable_ = relocatable_ && !rip;  // the sum wraps
            asm_.mov_imm(kHostR14, constant);
        }
        if (!segment) address.known_alignment = alignment_of(constant);
    } else {
        HostMem sum{.scale = mem.index == ZYDIS_REGISTER_NONE ? uint8_t{1} : mem.scale,
                    .disp = static_cast<int32_t>(mem.disp.value)};
        CHECK(mem.base == ZYDIS_REGISTER_NONE || is_gpr(mem.base));
        uint8_t base = mem.base == ZYDIS_REGISTER_NONE ? uint8_t{0xff}
                                                       : static_cast<uint8_t>(ZydisRegisterGetId(mem.base));
        bool plain = mem.index == ZYDIS_REGISTER_NONE && !segment && !narrow;
        if (plain && base == cpu::kRsp) {
            if (stack_aligned_ && displacement % 8 == 0) address.known_alignment = 8;
        }
        if (plain && keeps_displacement(sharing)) {
            address.disp = std::exchange(sum.disp, 0);
            displacement = 0;
        }
        if (plain && may_stay_in_base && displacement == 0 && base < cpu::kR10) {
            address.base = static_cast<HostReg>(base);
            return address;
        }
        if (base != 0xff) {
            sum.base = base < cpu::kR10 ? static_cast<HostReg>(base) : kHostR14;
            if (sum.base == kHostR14) load_guest(kHostR14, base);
        }
        if (mem.index != ZYDIS_REGISTER_NONE) {
            uint8_t index = static_cast<uint8_t>(ZydisRegisterGetId(mem.index));
            sum.index = index < cpu::kR10 ? static_cast<HostReg>(index) : kHostR13;
            if (sum.index == kHostR13) {
                load_guest(kHostR13, index);
                group_in_r13_.reset();
            }
        }
        if (sharing == Sharing::kIndexed && sum.index != kHostR13) {
            return {.base = sum.base,
                    .stack_segment = address.stack_segment,
                    .disp = sum.disp,
                    .index = sum.index,
                    .scale = sum.scale};
        }
        if (base == 0xff && !segment)
            address.known_alignment = std::min(alignment_of(displacement), sum.scale);
        bool done = sum.base == kHostR14 && sum.index == kNoReg && sum.disp == 0 && !narrow;
        if (!done && narrow) asm_.lea32(kHostR14, sum);
        if (!done && !narrow) asm_.lea(kHostR14, sum);
        if (width == 16) asm_.movzx16(kHostR14, kHostR14);
    }
    if (segment) add_segment_base(mem.segment);
    return address;
}

// To the offset in r14. Outside 64-bit code the sum has 32 bits.
void BlockBuilder::add_segment_base(ZydisRegister segment) {
    group_in_r13_.reset();
    asm_.load(kHostR13, segment_base(segment == ZYDIS_REGISTER_FS ? cpu::kFs : cpu::kGs));
    HostMem sum{.base = kHostR14, .index = kHostR13};
    if (run_[index_].is_narrow()) return asm_.lea32(kHostR14, sum);
    asm_.lea(kHostR14, sum);
}

void BlockBuilder::emit_lookup(const Address& address, unsigned size, bool write, bool aligned_by_cpu) {
    CHECK(size >= 1 && size <= 128, "an access of {} bytes", size);
    const AccessPlan& plan = plans_[lookups_++];
    if (!source_.deltas.empty()) {
        asm_.mov_imm(kHostR13, source_.deltas[lookups_ - 1]);
        return;
    }
    if (source_.mode.window) {
        if (plan.sharing != Sharing::kMember) emit_look(address, plan.sharing);
        return note_operation();
    }
    if (plan.sharing == Sharing::kMember) {
        if (group_in_r13_ != plan.group) asm_.load(kHostR13, engine_slot(plan.group));
        group_in_r13_ = plan.group;
    } else {
        group_in_r13_.reset();
        free_flags();
        if (plan.sharing == Sharing::kFirst) {
            emit_shared_lookup(address, size, write, plan);
        } else {
            emit_own_lookup(address, size, write, aligned_by_cpu);
        }
    }
    note_operation();
}

uint32_t BlockBuilder::add_memory_record(const Address& address, unsigned size, bool write) {
    return add_record({.kind = ExitKind::kMemory,
                       .size = static_cast<uint8_t>(size),
                       .write = write,
                       .requires_alignment = run_[index_].requires_alignment(size),
                       .stack = address.stack_segment,
                       .credit = credit(),
                       .pc = run_[index_].pc,
                       .host = resume_});
}

// The sequence of an access that is looked up for itself:
//
//     test  address, size - 1 ; jne cold      unless alignment is known (8-bit operand: one fused operation)
//     bextr r13, address, r10                 the index: canonical by construction
//     mov   r13, [r10 + r13 * 8 - bias]       for a write: mov r12, [write map] ; mov r13, [r12 + r13 * 8]
//     test  r13, r13 ; jz cold
void BlockBuilder::emit_own_lookup(const Address& address, unsigned size, bool write, bool aligned_by_cpu) {
    HostReg base = address.base;
    ColdPart cold{.record = add_memory_record(address, size, write),
                  .flags = flags_in_slot_ ? Flags::kSlot : Flags::kHost,
                  .address = base};
    unsigned alignment = std::bit_ceil(size);
    if (address.known_alignment < alignment && !aligned_by_cpu) {
        asm_.test8_imm(base, static_cast<uint8_t>(alignment - 1));
        cold.misaligned = asm_.jcc(kNotEqual);
        cold.size = static_cast<uint8_t>(size);
        cold.back = asm_.here();
    }
    asm_.bextr(kHostR13, base, kHostR10);
    load_map_entry(kHostR13, write);
    asm_.test(kHostR13, kHostR13);
    cold.fixup = asm_.jcc(kEqual);
    cold_.push_back(cold);
}

// The first access of a group, which finds the page of all of them (shared_lookups.h):
//
//     lea   r13d, [address + below] ; and r13d, 4095 ; cmp r13d, 4096 - span ; ja plain
//     bextr r13, address, r10 ; mov r13, entry ; test r13, r13 ; jz cold
//     mov   [slot], r13
//
// Where the group is looked up for writing and this is a read, a miss proves nothing about the read: the
// plain block decides.
void BlockBuilder::emit_shared_lookup(const Address& address, unsigned size, bool write,
                                      const AccessPlan& plan) {
    Flags flags = flags_in_slot_ ? Flags::kSlot : Flags::kHost;
    SideExit plain{
        .target = run_[index_].pc, .unexecuted = credit(), .plain = true, .flags_in_slot = flags_in_slot_};
    if (plan.below == 0) {
        asm_.mov32(kHostR13, address.base);
    } else {
        asm_.lea32(kHostR13, {.base = address.base, .disp = plan.below});
    }
    asm_.and32_imm(kHostR13, kPageMask);
    asm_.cmp32_imm(kHostR13, static_cast<int32_t>(kPageSize) - plan.span);
    plain.fixup = asm_.jcc(kAbove);
    asm_.bextr(kHostR13, address.base, kHostR10);
    load_map_entry(kHostR13, plan.write);
    asm_.test(kHostR13, kHostR13);
    Fixup unknown = asm_.jcc(kEqual);
    if (plan.write && !write) {
        plain.second = unknown;
    } else {
        cold_.push_back({.fixup = unknown,
                         .record = add_memory_record(address, size, write),
                         .flags = flags,
                         .address = address.base});
    }
    side_exits_.push_back(plain);
    asm_.store(engine_slot(plan.group), kHostR13);
    group_in_r13_ = plan.group;
}

// Faults unless the address lies in an open region (host_window.h).
void BlockBuilder::emit_look(const Address& address, Sharing sharing) {
    HostReg looked_at = address.base;
    if (sharing == Sharing::kIndexed && (address.index != kNoReg || address.disp)) {
        looked_at = kHostR13;
        asm_.lea(kHostR13, found(address));
    }
    asm_.shrx(kHostR13, looked_at, kHostR10);
    asm_.movzx8(kHostR13, {.base = kHostR10, .index = kHostR13, .disp = HostWindow::table_displacement()});
}

void BlockBuilder::load_map_entry(HostReg index, bool write) {
    if (write) {
        asm_.load(kHostR12, engine_slot(kWriteMapSlot));
        asm_.load(index, {.base = kHostR12, .index = index, .scale = 8});
    } else {
        asm_.load(index, {.base = kHostR10,
                          .index = index,
                          .scale = 8,
                          .disp = ShadowMap::read_displacement(source_.mode.user)});
    }
}

}  // namespace lockstep::translate
