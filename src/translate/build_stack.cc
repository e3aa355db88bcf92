// SPDX-License-Identifier: Apache-2.0
// The stack: PUSH, POP, LEAVE, and what CALL and RET do there.
//
// In the window they are the host's own instructions: a fault leaves RSP as it was.
#include "translate/block_builder.h"

namespace lockstep::translate {

// RSP is changed once for a run of pushes and pops: those whose page is known can't fault, and nothing looks
// at RSP in between.
bool BlockBuilder::continues_stack_run(const GuestInstruction& instruction) const {
    if (source_.mode.window || lookups_ >= plans_.size()) return false;
    if (next_plan().sharing != Sharing::kMember) return false;
    const ZydisDecodedOperand& operand = instruction.operands[0];
    bool plain_register =
        operand.type == ZYDIS_OPERAND_TYPE_REGISTER && operand.reg.value != ZYDIS_REGISTER_RSP;
    switch (instruction.kind) {
        case Kind::kPush:
            return plain_register || operand.type == ZYDIS_OPERAND_TYPE_IMMEDIATE;
        case Kind::kPop:
            return plain_register;
        case Kind::kCall:
        case Kind::kReturn:
            return true;
        default:
            return false;
    }
}

void BlockBuilder::pay_stack() {
    if (stack_owed_) asm_.lea(kHostRsp, {.base = kHostRsp, .disp = stack_owed_});
    stack_owed_ = 0;
}

// After it the place for the pushed value is the returned operand; RSP is still unchanged.
HostMem BlockBuilder::emit_push_lookup() {
    Address address{.base = kHostR14,
                    .known_alignment = static_cast<uint8_t>(stack_aligned_ ? 8 : 1),
                    .stack_segment = true};
    if (keeps_displacement(next_plan().sharing)) {
        address = {.base = kHostRsp, .disp = stack_owed_ - 8};
    } else {
        asm_.lea(kHostR14, {.base = kHostRsp, .disp = -8});
    }
    emit_lookup(address, 8, true);
    return found(address);
}

void BlockBuilder::emit_push(const GuestInstruction& instruction) {
    const ZydisDecodedOperand& operand = instruction.operands[0];
    if (operand.type == ZYDIS_OPERAND_TYPE_MEMORY) {
        group_in_r13_.reset();  // a miss of the second access comes back to the first
        Address address = emit_address(operand, true, next_plan().sharing);
        emit_lookup(address, 8, false);
        asm_.load(kHostR12, found(address));
        store_state(cache_.state().scratch, kHostR12);
    }
    HostMem place = emit_push_lookup();
    if (operand.type == ZYDIS_OPERAND_TYPE_IMMEDIATE) {
        push_constant(place, static_cast<int32_t>(operand.imm.value.s));
    } else if (operand.type == ZYDIS_OPERAND_TYPE_MEMORY) {
        load_state(kHostR12, cache_.state().scratch);
        push_register(place, kHostR12);
    } else {
        uint8_t number = static_cast<uint8_t>(ZydisRegisterGetId(operand.reg.value));
        HostReg from = number < cpu::kR10 ? static_cast<HostReg>(number) : kHostR12;
        if (from == kHostR12) load_guest(kHostR12, number);
        push_register(place, from);
    }
}

void BlockBuilder::push_register(const HostMem& place, HostReg from) {
    if (source_.mode.window) return asm_.push(from);
    asm_.store(place, from);
    stack_owed_ -= 8;
}

void BlockBuilder::push_constant(const HostMem& place, int32_t value) {
    if (source_.mode.window) return asm_.push_imm(value);
    asm_.store_imm(place, value);
    stack_owed_ -= 8;
}

// Takes what lies at RSP into a register of the host's.
void BlockBuilder::pop_register(HostReg to) {
    Address address{.base = kHostRsp,
                    .known_alignment = static_cast<uint8_t>(stack_aligned_ ? 8 : 1),
                    .stack_segment = true,
                    .disp = stack_owed_};
    emit_lookup(address, 8, false);
    if (source_.mode.window) return asm_.pop(to);
    asm_.load(to, found(address));
    if (to != kHostRsp) stack_owed_ += 8;
}

void BlockBuilder::emit_pop(const GuestInstruction& instruction) {
    uint8_t number = static_cast<uint8_t>(ZydisRegisterGetId(instruction.operands[0].reg.value));
    HostReg to = number < cpu::kR10 ? static_cast<HostReg>(number) : kHostR12;
    pop_register(to);
    if (number == cpu::kRsp) stack_aligned_ = false;
    if (to == kHostR12) asm_.store(slot(number), kHostR12);
}

void BlockBuilder::emit_leave(const GuestInstruction&) {
    Address address{.base = kHostRbp, .stack_segment = true};
    emit_lookup(address, 8, false);
    stack_aligned_ = false;
    if (source_.mode.window) return asm_.leave();
    asm_.load(kHostR12, found(address));
    asm_.lea(kHostRsp, {.base = kHostRbp, .disp = 8});
    asm_.mov(kHostRbp, kHostR12);
}

void BlockBuilder::push_return_address(uint64_t pc) {
    HostMem place = emit_push_lookup();
    if (static_cast<int64_t>(pc) == static_cast<int32_t>(pc)) {  // only where addresses are fixed
        push_constant(place, static_cast<int32_t>(pc));
    } else {
        emit_guest_address(kHostR12, pc);
        push_register(place, kHostR12);
    }
    pay_stack();
}

}  // namespace lockstep::translate
