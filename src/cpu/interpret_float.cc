// SPDX-License-Identifier: Apache-2.0
// FXSAVE, FXRSTOR, FNSTENV, FLDENV, FNSAVE, FRSTOR, FNINIT, LDMXCSR, STMXCSR: written by rule from
// CpuState::fx, so that no address and no habit of the host shows (see float_state.h). MASKMOVQ, MASKMOVDQU.
#include <cstring>

#include "cpu/float_state.h"
#include "cpu/handlers.h"
#include "x86/control.h"
#include "x86/paging.h"

namespace lockstep::cpu {

using namespace x86;

namespace {

constexpr unsigned kRegisterBytes = 10;

uint16_t word_at(const uint8_t* bytes) {
    uint16_t value;
    std::memcpy(&value, bytes, 2);
    return value;
}
void put_word(uint8_t* bytes, uint16_t value) { std::memcpy(bytes, &value, 2); }

constexpr uint16_t kFswTop = 7 << 11;
unsigned top_of(uint16_t status) { return (status & kFswTop) >> 11; }

bool x87_available(const Cpu& cpu, Exception& exception) {
    return !(cpu.state.cr0 & (kCr0Em | kCr0Ts)) || raise(exception, kNm);
}

/// Waiting instructions report an exception that an earlier one left.
bool no_x87_exception_pending(const Cpu& cpu, Exception& exception) {
    return !(word_at(&cpu.state.fx.bytes[kFxStatus]) & kFswSummary) || raise(exception, kMf);
}

bool sse_available(const Cpu& cpu, Exception& exception) {
    if ((cpu.state.cr0 & kCr0Em) || !(cpu.state.cr4 & kCr4Osfxsr)) return raise(exception, kUd);
    return !(cpu.state.cr0 & kCr0Ts) || raise(exception, kNm);
}

bool mmx_available(const Cpu& cpu, Exception& exception) {
    if (cpu.state.cr0 & kCr0Em) return raise(exception, kUd);
    return !(cpu.state.cr0 & kCr0Ts) || raise(exception, kNm);
}

/// Sets control and status words. The image keeps the registers in the order of the stack, so a new top turns
/// them; `keep_order` where they are loaded in stack order anyway.
enum class StackOrder : uint8_t { kTurn, kKeep };
void set_control_and_status(FxState& fx, uint16_t control, uint16_t status, StackOrder order) {
    control = static_cast<uint16_t>((control & kFcwWritable) | kFcwFixed);
    unsigned turn = (top_of(status) - top_of(word_at(&fx.bytes[kFxStatus]))) & 7;
    if (order == StackOrder::kTurn && turn) {
        uint8_t before[8 * 16];
        std::memcpy(before, &fx.bytes[kFxStack], sizeof before);
        for (unsigned i = 0; i < 8; ++i)
            std::memcpy(&fx.bytes[kFxStack + i * 16], before + ((i + turn) & 7) * 16, 16);
    }
    put_word(&fx.bytes[kFxControl], control);
    put_word(&fx.bytes[kFxStatus], with_summary(status, control));
}

/// The two tag bits of a register's contents (Intel SDM vol. 1, 8.1.7): 0 valid, 1 zero, 2 special.
unsigned tag_of_contents(const uint8_t* contents) {
    uint64_t mantissa;
    std::memcpy(&mantissa, contents, 8);
    unsigned exponent = word_at(contents + 8) & 0x7fff;
    if (exponent == 0) return mantissa == 0 ? 1 : 2;
    return exponent == 0x7fff || !(mantissa >> 63) ? 2 : 0;
}

uint16_t full_tags(const FxState& fx) {
    unsigned top = top_of(word_at(&fx.bytes[kFxStatus])), tags = 0;
    for (unsigned physical = 0; physical < 8; ++physical) {
        bool empty = !(fx.bytes[kFxTag] >> physical & 1);
        unsigned tag = empty ? 3 : tag_of_contents(&fx.bytes[kFxStack + ((physical - top) & 7) * 16]);
        tags |= tag << physical * 2;
    }
    return static_cast<uint16_t>(tags);
}

uint8_t abridged_tags(uint16_t tags) {
    unsigned used = 0;
    for (unsigned physical = 0; physical < 8; ++physical)
        if ((tags >> physical * 2 & 3) != 3) used |= 1u << physical;
    return static_cast<uint8_t>(used);
}

/// The environment has 14 bytes with 16-bit operands, else 28.
unsigned environment_size(const Instruction& instruction) { return instruction.operand_size == 2 ? 14 : 28; }

/// Control, status and tag words; the pointers are zero. In the long form the unused halves are ones.
void make_environment(const FxState& fx, unsigned size, uint8_t* out) {
    std::memset(out, 0, size);
    unsigned step = size == 28 ? 4 : 2;
    const uint16_t words[] = {word_at(&fx.bytes[kFxControl]), word_at(&fx.bytes[kFxStatus]), full_tags(fx)};
    for (unsigned i = 0; i < 3; ++i) {
        put_word(out + i * step, words[i]);
        if (step == 4) put_word(out + i * step + 2, 0xffff);
    }
    if (step == 4) put_word(out + 26, 0xffff);
}

void load_environment(FxState& fx, unsigned size, const uint8_t* in, StackOrder order) {
    unsigned step = size == 28 ? 4 : 2;
    set_control_and_status(fx, word_at(in), word_at(in + step), order);
    fx.bytes[kFxTag] = abridged_tags(word_at(in + 2 * step));
}

void initialise_x87(FxState& fx) {
    set_control_and_status(fx, kFcwInitial, 0, StackOrder::kTurn);
    fx.bytes[kFxTag] = 0;
}

/// An address that isn't canonical is left to the access: it raises #SS where it goes by SS.
bool check_alignment(const Cpu& cpu, const Instruction& instruction, Exception& exception) {
    uint64_t address = effective_address(cpu, instruction);
    return address % 16 == 0 || !x86::is_canonical(address) || general_protection(exception);
}

}  // namespace

Outcome fxsave_instruction(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    return next_if(x87_available(cpu, exception) && check_alignment(cpu, instruction, exception) &&
                   write_operand_memory(cpu, instruction, cpu.state.fx.bytes.data(), kFxEnd, exception));
}

Outcome fxrstor_instruction(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    FxState& fx = cpu.state.fx;
    uint8_t head[kFxStack];
    if (!x87_available(cpu, exception) || !check_alignment(cpu, instruction, exception) ||
        !read_operand_memory(cpu, instruction, head, sizeof head, exception))
        return Outcome::kFault;
    uint32_t mxcsr;
    std::memcpy(&mxcsr, head + kFxMxcsr, 4);
    if (mxcsr & ~kMxcsrMask) return next_if(general_protection(exception));
    if (!read_operand_memory(cpu, instruction, fx.bytes.data(), sizeof fx.bytes, exception))
        return Outcome::kFault;
    normalise_software_fx(fx);
    return Outcome::kNext;
}

Outcome fnstenv_instruction(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    FxState& fx = cpu.state.fx;
    uint8_t environment[28];
    unsigned size = environment_size(instruction);
    make_environment(fx, size, environment);
    if (!x87_available(cpu, exception) ||
        !write_operand_memory(cpu, instruction, environment, size, exception))
        return Outcome::kFault;
    uint16_t control = word_at(&fx.bytes[kFxControl]) | kFcwMasks;
    set_control_and_status(fx, control, word_at(&fx.bytes[kFxStatus]), StackOrder::kTurn);
    return Outcome::kNext;
}

Outcome fldenv_instruction(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    uint8_t environment[28];
    unsigned size = environment_size(instruction);
    if (!x87_available(cpu, exception) || !no_x87_exception_pending(cpu, exception) ||
        !read_operand_memory(cpu, instruction, environment, size, exception))
        return Outcome::kFault;
    load_environment(cpu.state.fx, size, environment, StackOrder::kTurn);
    return Outcome::kNext;
}

Outcome fnsave_instruction(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    FxState& fx = cpu.state.fx;
    uint8_t image[28 + 8 * kRegisterBytes];
    unsigned size = environment_size(instruction);
    make_environment(fx, size, image);
    for (unsigned i = 0; i < 8; ++i)
        std::memcpy(image + size + i * kRegisterBytes, &fx.bytes[kFxStack + i * 16], kRegisterBytes);
    if (!x87_available(cpu, exception) ||
        !write_operand_memory(cpu, instruction, image, size + 8 * kRegisterBytes, exception))
        return Outcome::kFault;
    initialise_x87(fx);
    return Outcome::kNext;
}

Outcome frstor_instruction(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    FxState& fx = cpu.state.fx;
    uint8_t image[28 + 8 * kRegisterBytes];
    unsigned size = environment_size(instruction);
    if (!x87_available(cpu, exception) || !no_x87_exception_pending(cpu, exception) ||
        !read_operand_memory(cpu, instruction, image, size + 8 * kRegisterBytes, exception))
        return Outcome::kFault;
    load_environment(fx, size, image, StackOrder::kKeep);
    for (unsigned i = 0; i < 8; ++i)
        std::memcpy(&fx.bytes[kFxStack + i * 16], image + size + i * kRegisterBytes, kRegisterBytes);
    return Outcome::kNext;
}

Outcome fninit_instruction(Cpu& cpu, const Instruction&, Exception& exception) {
    if (!x87_available(cpu, exception)) return Outcome::kFault;
    initialise_x87(cpu.state.fx);
    return Outcome::kNext;
}

Outcome ldmxcsr_instruction(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    uint32_t value = 0;
    if (!sse_available(cpu, exception) || !read_operand_memory(cpu, instruction, &value, 4, exception))
        return Outcome::kFault;
    if (value & ~kMxcsrMask) return next_if(general_protection(exception));
    std::memcpy(&cpu.state.fx.bytes[kFxMxcsr], &value, 4);
    return Outcome::kNext;
}

Outcome stmxcsr_instruction(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    return next_if(sse_available(cpu, exception) &&
                   write_operand_memory(cpu, instruction, &cpu.state.fx.bytes[kFxMxcsr], 4, exception));
}

namespace {

/// Stores the bytes of `data` whose byte in `mask` has its top bit set to [RDI]. The whole range must be
/// writable, whatever the mask says; bytes that are not selected are not touched.
Outcome masked_store(Cpu& cpu, const Instruction& instruction, const uint8_t* data, const uint8_t* mask,
                     unsigned size, Exception& exception) {
    CpuState& state = cpu.state;
    uint64_t at = state.gpr[kRdi] & mask_of_size(instruction.address_size);
    if (!linear_address(cpu, instruction.segment, at, size, Access::kWrite, at, exception) ||
        !check_writable(cpu, at, size, exception))
        return Outcome::kFault;
    for (unsigned i = 0; i < size; ++i)
        if ((mask[i] & 0x80) && !write_virtual(cpu, at + i, data + i, 1, exception)) return Outcome::kFault;
    return Outcome::kNext;
}

/// Of XMM registers.
Outcome masked_store_of_xmm(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    const uint8_t* registers = &cpu.state.fx.bytes[kFxXmm];
    return masked_store(cpu, instruction, registers + instruction.operands[0].number * 16,
                        registers + instruction.operands[1].number * 16, 16, exception);
}

/// What every MMX instruction does to the x87 state: the top of the stack is 0, so that ST(n) of the image is
/// MMX register n, and all registers are in use.
void enter_mmx(FxState& fx) {
    auto status = static_cast<uint16_t>(word_at(&fx.bytes[kFxStatus]) & ~kFswTop);
    set_control_and_status(fx, word_at(&fx.bytes[kFxControl]), status, StackOrder::kTurn);
    fx.bytes[kFxTag] = 0xff;
}

}  // namespace

/// A fault of the store leaves the x87 state as an MMX instruction makes it, as CPUs do.
Outcome maskmovq_instruction(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    if (!mmx_available(cpu, exception) || !no_x87_exception_pending(cpu, exception)) return Outcome::kFault;
    enter_mmx(cpu.state.fx);
    const uint8_t* registers = &cpu.state.fx.bytes[kFxStack];
    return masked_store(cpu, instruction, registers + instruction.operands[0].number * 16,
                        registers + instruction.operands[1].number * 16, 8, exception);
}

Outcome maskmovdqu_instruction(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    if (!sse_available(cpu, exception)) return Outcome::kFault;
    return masked_store_of_xmm(cpu, instruction, exception);
}

Outcome vmaskmovdqu_instruction(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    if (!avx_available(cpu, exception)) return Outcome::kFault;
    return masked_store_of_xmm(cpu, instruction, exception);
}

}  // namespace lockstep::cpu
