// SPDX-License-Identifier: Apache-2.0
// The ways from one block to the next.
//
//     same page          chained: the jump's displacement is patched to the successor's entry
//     within the kernel  chained, too, until a page of the upper half goes (kernel_chains.h), where it is the
//                        same in all address spaces
//     another page       of what depends on the address space: through the target's slot (direct_targets.h);
//                        also where the target's instruction reaches into another page
//     indirect           through the jump cache: jmp [jumps + 8 * index of r14]; the block that is there
//                        compares r14 with its own pc
//
// A branch to an address that isn't canonical raises #GP itself, with nothing changed (Intel SDM vol. 2, JMP,
// CALL, RET). Of direct branches that is known here. An indirect one to such an address never finds a block:
// each notes its exit record, by which the dispatcher takes it back (Vcpu::Impl::refuse_branch). A CALL has
// changed memory by then, so it looks at its target before.
#include "base/check.h"
#include "translate/block_builder.h"
#include "translate/hint_encodings.h"
#include "translate/jump_cache.h"
#include "translate/shadow_map.h"
#include "x86/paging.h"

namespace lockstep::translate {

void BlockBuilder::emit_jump(const GuestInstruction& instruction) {
    uint64_t target = instruction.branch_target();
    if (!x86::is_canonical(target)) return refuse_branch();
    jump_direct(target);
}

void BlockBuilder::emit_call(const GuestInstruction& instruction) {
    if (!x86::is_canonical(instruction.branch_target())) {
        pay_stack();
        ++lookups_;  // of the push, which isn't made
        return refuse_branch();
    }
    push_return_address(instruction.next_pc());
    jump_direct(instruction.branch_target());
}

void BlockBuilder::emit_call_indirect(const GuestInstruction& instruction) {
    const ZydisDecodedOperand& operand = instruction.operands[0];
    // They are in the slot at the end anyway. All that may fault here must find them in one place.
    if (!source_.mode.window) free_flags();
    if (operand.type == ZYDIS_OPERAND_TYPE_MEMORY) {
        group_in_r13_.reset();  // a miss of the second access comes back to the first
        Address address = emit_address(operand, true, next_plan().sharing);
        emit_lookup(address, 8, false);
        asm_.load(kHostR12, found(address));
    } else {
        load_guest(kHostR12, static_cast<uint8_t>(ZydisRegisterGetId(operand.reg.value)));
    }
    emit_check_target(kHostR12);
    store_state(cache_.state().scratch, kHostR12);
    push_return_address(instruction.next_pc());
    load_state(kHostR14, cache_.state().scratch);
    jump_to_r14();
}

void BlockBuilder::emit_jump_indirect(const GuestInstruction& instruction) {
    const ZydisDecodedOperand& operand = instruction.operands[0];
    if (operand.type == ZYDIS_OPERAND_TYPE_MEMORY) {
        Address address = emit_address(operand, true, next_plan().sharing);
        emit_lookup(address, 8, false);
        asm_.load(kHostR14, found(address));
    } else {
        load_guest(kHostR14, static_cast<uint8_t>(ZydisRegisterGetId(operand.reg.value)));
    }
    jump_to_r14();
}

void BlockBuilder::emit_return(const GuestInstruction& instruction) {
    pop_register(kHostR14);
    bool more = instruction.operands[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE;
    auto behind = more ? static_cast<uint32_t>(instruction.operands[0].imm.value.u) : 0;
    stack_owed_ += static_cast<int32_t>(behind);
    pay_stack();
    jump_to_r14(sizeof(uint64_t) + behind);
}

void BlockBuilder::emit_conditional(const GuestInstruction& instruction) {
    need_flags();
    Fixup taken = asm_.jcc(static_cast<Condition>(instruction.decoded.opcode & 15));
    auto behind = static_cast<uint16_t>(block_->count - index_ - 1);
    if (!x86::is_canonical(instruction.branch_target())) {
        relocatable_ = false;
        uint32_t record =
            add_record({.kind = ExitKind::kRefusedBranch, .credit = credit(), .pc = instruction.pc});
        cold_.push_back({.fixup = taken, .record = record});
        if (behind == 0) jump_direct(instruction.next_pc());
        return;
    }
    if (behind > 0) {
        side_exits_.push_back({.fixup = taken, .target = instruction.branch_target(), .unexecuted = behind});
        return;
    }
    jump_direct(instruction.next_pc());
    flags_in_slot_ = false;
    jump_direct(taken, instruction.branch_target());
}

// LOOP and JRCXZ have short displacements only: they choose between two long jumps.
void BlockBuilder::emit_loop(const GuestInstruction& instruction) {
    bool refused = !x86::is_canonical(instruction.branch_target());
    need_flags();
    if (refused) store_state(cache_.state().scratch, kHostRcx);
    if (instruction.decoded.address_width == 32) asm_.byte(0x67);
    asm_.bytes({instruction.decoded.opcode, 5});
    Fixup not_taken = asm_.jmp();
    Fixup taken = asm_.jmp();
    jump_direct(not_taken, instruction.next_pc());
    flags_in_slot_ = false;
    if (!refused) return jump_direct(taken, instruction.branch_target());
    asm_.bind_here(taken);
    load_state(kHostRcx, cache_.state().scratch);
    refuse_branch();
}

bool BlockBuilder::in_same_page(uint64_t target) const {
    if ((target ^ source_.pc) >= kPageSize) return false;
    if (kPageSize - target % kPageSize >= kLongestInstruction) return true;
    GuestInstruction at_target;
    return target >= source_.pc &&
           decode(source_.bytes.subspan(target - source_.pc), target, at_target, source_.width);
}

bool BlockBuilder::goes_by_slot(uint64_t target) const {
    bool same_page = !source_.second_page && in_same_page(target);
    bool same_half = (target >> 63) == (source_.mode.user ? 0 : 1);
    return source_.by_space && same_half && !same_page && options_.jump_cache && !source_.transient;
}

void BlockBuilder::jump_direct(uint64_t target) {
    if (source_.mode.window) need_flags();  // its blocks have no entry for flags in the slot
    if (goes_by_slot(target)) {
        jump_by_slot(target);
    } else {
        link(asm_.jmp(), target);
    }
}

void BlockBuilder::jump_direct(Fixup from, uint64_t target) {
    if (goes_by_slot(target)) {
        asm_.bind_here(from);
        jump_by_slot(target);
    } else {
        link(from, target);
    }
}

void BlockBuilder::jump_by_slot(uint64_t target) {
    bring_flags_for_tables();
    asm_.mov_imm(kHostR13, targets_.slot_of(target, shelf()));
    relocate(RelocationKind::kDirectTarget, 4);
    load_state(kHostR12, source_.mode.user ? cache_.state().user_targets : cache_.state().kernel_targets);
    asm_.jmp_mem({.base = kHostR12, .index = kHostR13, .scale = 8});
}

void BlockBuilder::link(Fixup from, uint64_t target, bool plain) {
    bool same_page = !source_.second_page && in_same_page(target);
    bool within_kernel = !source_.mode.user && !source_.by_space && target >> 63;
    bool chainable = (same_page || within_kernel) && !source_.transient && options_.chaining;
    uint32_t record = add_record({.kind = ExitKind::kLink,
                                  .chainable = chainable,
                                  .plain = plain,
                                  .flags_in_slot = flags_in_slot_,
                                  .pc = target,
                                  .host = from});
    cold_.push_back({.fixup = from, .record = record, .flags = flags_in_slot_ ? Flags::kSlot : Flags::kHost});
}

void BlockBuilder::refuse_branch() {
    relocatable_ = false;  // elsewhere the target may be canonical
    leave(ExitKind::kRefusedBranch, run_[index_].pc, credit());
}

// Of a canonical address's upper bits there are only copies of bit 47, so they come to zero or to minus one;
// all else makes an address that isn't canonical.
void BlockBuilder::emit_check_target(HostReg target) {
    static_assert(kStateBias % 64 == x86::kVirtualBits - 1);
    asm_.sarx(kHostR14, target, kHostR15);
    asm_.rorx(kHostR14, kHostR14, 64 - x86::kVirtualBits);
    asm_.movzx8(kHostR14, {.base = kHostR15, .index = kHostR14});
}

void BlockBuilder::jump_to_r14(uint32_t popped) {
    uint32_t record = add_record({.kind = ExitKind::kIndirect, .popped = popped, .pc = run_[index_].pc});
    asm_.store_imm(engine_slot(kBranchSlot), static_cast<int32_t>(record));
    relocate(RelocationKind::kRecord, 4);
    if (!options_.jump_cache || source_.transient) {
        put_flags_in_slot();
        jump_to_trampoline(exits_.indirect_miss);
        return;
    }
    bring_flags_for_tables();
    load_state(kHostR12, source_.mode.user ? cache_.state().user_jumps : cache_.state().kernel_jumps);
    asm_.rorx(kHostR13, kHostR14, JumpCache::kIndexShift);  // index_of()
    asm_.lea(kHostR13, {.base = kHostR13, .index = kHostR14});
    asm_.movzx16(kHostR13, kHostR13);
    asm_.jmp_mem({.base = kHostR12, .index = kHostR13, .scale = 8});
}

}  // namespace lockstep::translate
