// SPDX-License-Identifier: Apache-2.0
// MOVS, STOS, LODS, CMPS, SCAS, with and without REP.
//
// A REP instruction counts as one instruction when it runs to its end. One that is longer than kPieceBytes is
// done in pieces: each piece counts as one instruction and leaves rip where it is, so that interrupts and
// stops come in between. Under TF each element is a piece, and a breakpoint that is met ends one. These rules
// look at the guest's registers alone.
//
// Forward steps go page by page through the host's memory functions; the registers are brought up to date
// after every chunk, so that a fault midway finds them at its element. A fault in CMPS or SCAS leaves the
// flags as they were before the instruction (Intel SDM vol. 2, REP).
#include <cstring>

#include "cpu/handlers.h"
#include "cpu/string_registers.h"

namespace lockstep::cpu {

namespace {

constexpr uint64_t kPieceBytes = 256 << 10;

/// A range of one page as host memory, or null where it isn't plain RAM or has a breakpoint.
struct HostRange {
    uint8_t* bytes = nullptr;
};

template <Access kAccess>
bool map_range(Cpu& cpu, uint64_t linear, HostRange& out, Exception& exception) {
    Privilege privilege = current_privilege(cpu);
    bool watched = cpu.breakpoints.has_data_on_page(linear);
    out.bytes = watched ? nullptr : host_range<kAccess>(cpu, privilege, linear, 1);
    if (out.bytes) return true;
    auto result = cpu.mmu.translate(GuestVirt(linear), kAccess, privilege == Privilege::kUser);
    if (auto* fault = std::get_if<Exception>(&result)) {
        exception = *fault;
        return false;
    }
    const TlbEntry& entry = *std::get<const TlbEntry*>(result);
    GuestPhys page(entry.page);
    bool plain = entry.ram && !watched && (kAccess != Access::kWrite || cpu.memory.prepare_write(page));
    out.bytes = plain ? cpu.memory.host(page) + (linear & kPageMask) : nullptr;
    return true;
}

/// Copies `bytes` in the order of elements: where the target begins inside the source, what was copied is
/// copied on.
void copy_forward(uint8_t* to, const uint8_t* from, uint64_t bytes, unsigned size) {
    bool repeats_itself = to > from && to < from + bytes;
    if (!repeats_itself) {
        std::memmove(to, from, bytes);
        return;
    }
    for (uint64_t at = 0; at < bytes; at += size) std::memmove(to + at, from + at, size);
}

template <typename T>
void fill_with(uint8_t* to, uint64_t count, T value) {
    for (uint64_t i = 0; i < count; ++i) std::memcpy(to + i * sizeof value, &value, sizeof value);
}

void fill(uint8_t* to, uint64_t count, unsigned size, uint64_t value) {
    uint64_t mask = mask_of_size(size), bytes = (value & 0xff) * 0x0101010101010101;
    if (((value ^ bytes) & mask) == 0) {
        std::memset(to, static_cast<uint8_t>(value), count * size);
        return;
    }
    switch (size) {
        case 2:
            return fill_with(to, count, static_cast<uint16_t>(value));
        case 4:
            return fill_with(to, count, static_cast<uint32_t>(value));
        default:
            return fill_with(to, count, value);
    }
}

/// The flags of `left` - `right`.
uint64_t compare_flags(uint64_t left, uint64_t right, unsigned size) {
    uint64_t mask = mask_of_size(size), sign = uint64_t{1} << (size * 8 - 1);
    left &= mask;
    right &= mask;
    uint64_t difference = (left - right) & mask;
    uint64_t flags = left < right ? kFlagCf : 0;
    if (difference == 0) flags |= kFlagZf;
    if (difference & sign) flags |= kFlagSf;
    if ((left ^ right) & (left ^ difference) & sign) flags |= kFlagOf;
    if ((left ^ right ^ difference) & 0x10) flags |= kFlagAf;
    if (__builtin_parity(difference & 0xff) == 0) flags |= kFlagPf;
    return flags;
}

template <typename T>
T element(const uint8_t* at) {
    T value;
    std::memcpy(&value, at, sizeof value);
    return value;
}

/// What CMPS and SCAS share: `count` elements of which both sides are host memory (`left` null: always
/// `constant`). Returns how many were compared; the last two are left behind.
struct Comparison {
    uint64_t left = 0, right = 0;
    bool ended = false;
};

bool ends_repeat(Repeat repeat, bool equal) {
    return (repeat == Repeat::kEqual && !equal) || (repeat == Repeat::kNotEqual && equal);
}

template <typename T>
uint64_t compare_elements(const uint8_t* left, uint64_t constant, const uint8_t* right, uint64_t count,
                          Repeat repeat, Comparison& out) {
    for (uint64_t i = 0; i < count; ++i) {
        T first = left ? element<T>(left + i * sizeof(T)) : static_cast<T>(constant);
        T second = element<T>(right + i * sizeof(T));
        bool last = ends_repeat(repeat, first == second);
        if (!last && i + 1 < count) continue;
        out = {first, second, last};
        return i + 1;
    }
    return 0;
}

uint64_t compare_chunk(const uint8_t* left, uint64_t constant, const uint8_t* right, uint64_t count,
                       unsigned size, Repeat repeat, Comparison& out) {
    switch (size) {
        case 1:
            return compare_elements<uint8_t>(left, constant, right, count, repeat, out);
        case 2:
            return compare_elements<uint16_t>(left, constant, right, count, repeat, out);
        case 4:
            return compare_elements<uint32_t>(left, constant, right, count, repeat, out);
        default:
            return compare_elements<uint64_t>(left, constant, right, count, repeat, out);
    }
}

/// Whether the segments permit both elements. All that the source's may raise comes first.
bool may_go_on(Cpu& cpu, StringRegisters& registers, Access destination, unsigned size,
               Exception& exception) {
    Exception refused;
    uint64_t unused = 0;
    if (!registers.may_read_source(cpu, exception)) return false;
    if (registers.may_reach_destination(cpu, destination, refused)) return true;
    if (read_virtual(cpu, registers.source(), &unused, size, exception)) exception = refused;
    return false;
}

bool move_one(Cpu& cpu, StringRegisters& registers, unsigned size, Exception& exception) {
    uint64_t value = 0;
    return read_virtual(cpu, registers.source(), &value, size, exception) &&
           write_virtual(cpu, registers.destination(), &value, size, exception);
}

/// Moves up to `most` elements; 0: a fault.
uint64_t move_some(Cpu& cpu, StringRegisters& registers, uint64_t most, unsigned size, Exception& exception) {
    if (!may_go_on(cpu, registers, Access::kWrite, size, exception)) return 0;
    uint64_t from = registers.source(), to = registers.destination();
    uint64_t count = std::min({most, registers.contiguous(from, kRsi), registers.contiguous(to, kRdi)});
    if (count == 0) return move_one(cpu, registers, size, exception) ? 1 : 0;
    HostRange source, target;
    if (!map_range<Access::kRead>(cpu, from, source, exception) ||
        !map_range<Access::kWrite>(cpu, to, target, exception))
        return 0;
    if (!source.bytes || !target.bytes) return move_one(cpu, registers, size, exception) ? 1 : 0;
    copy_forward(target.bytes, source.bytes, count * size, size);
    return count;
}

uint64_t store_some(Cpu& cpu, StringRegisters& registers, uint64_t most, unsigned size,
                    Exception& exception) {
    if (!registers.may_reach_destination(cpu, Access::kWrite, exception)) return 0;
    uint64_t to = registers.destination(), value = cpu.state.gpr[kRax];
    uint64_t count = std::min(most, registers.contiguous(to, kRdi));
    HostRange target;
    if (count > 0 && !map_range<Access::kWrite>(cpu, to, target, exception)) return 0;
    if (!target.bytes) return write_virtual(cpu, to, &value, size, exception) ? 1 : 0;
    fill(target.bytes, count, size, value);
    return count;
}

/// Compares up to `most` elements of [RDI] with [RSI] (`from_memory`) or RAX.
enum class Left : uint8_t { kMemory, kAccumulator };

uint64_t compare_some(Cpu& cpu, StringRegisters& registers, Left left, uint64_t most, unsigned size,
                      Repeat repeat, Comparison& out, Exception& exception) {
    uint64_t from = registers.source(), to = registers.destination(), accumulator = cpu.state.gpr[kRax];
    accumulator &= mask_of_size(size);
    bool memory = left == Left::kMemory;
    bool permitted = memory ? may_go_on(cpu, registers, Access::kRead, size, exception)
                            : registers.may_reach_destination(cpu, Access::kRead, exception);
    if (!permitted) return 0;
    uint64_t count = std::min(most, registers.contiguous(to, kRdi));
    if (memory) count = std::min(count, registers.contiguous(from, kRsi));
    HostRange source, target;
    if (count > 0) {
        if (memory && !map_range<Access::kRead>(cpu, from, source, exception)) return 0;
        if (!map_range<Access::kRead>(cpu, to, target, exception)) return 0;
        if (target.bytes && (source.bytes || !memory))
            return compare_chunk(source.bytes, accumulator, target.bytes, count, size, repeat, out);
    }
    uint64_t first = accumulator, second = 0;
    if (memory) {
        first = 0;
        if (!read_virtual(cpu, from, &first, size, exception)) return 0;
    }
    if (!read_virtual(cpu, to, &second, size, exception)) return 0;
    out = {first, second, ends_repeat(repeat, first == second)};
    return 1;
}

Outcome compare(Cpu& cpu, const Instruction& instruction, Left left, Exception& exception) {
    unsigned size = instruction.operand_size;
    StringRegisters registers(cpu.state, instruction, size);
    uint64_t remaining = registers.piece(kPieceBytes / size);
    if (remaining == 0) return Outcome::kNext;
    Comparison last;
    while (remaining > 0 && !last.ended && !cpu.breakpoints.met()) {
        uint64_t done =
            compare_some(cpu, registers, left, remaining, size, instruction.repeat, last, exception);
        if (done == 0) return Outcome::kFault;
        if (left == Left::kMemory) registers.advance_source(done);
        registers.advance_destination(done);
        registers.count_down(done);
        remaining -= done;
    }
    cpu.state.rflags = (cpu.state.rflags & ~kArithmeticFlags) | compare_flags(last.left, last.right, size);
    return last.ended ? Outcome::kNext : registers.outcome();
}

// The short way of MOVS and STOS: forward, with 64-bit addresses, all of it on one page of RAM each, whose
// translations are at hand. It does what the long way would do, in one step.

/// Bytes to move in all, or 0 where the short way isn't open.
uint64_t short_way_bytes(const CpuState& state, const Instruction& instruction) {
    bool repeated = instruction.repeat != Repeat::kNone;
    uint64_t count = repeated ? state.gpr[kRcx] : 1;
    bool open = !(state.rflags & (kFlagDf | kFlagTf)) && instruction.address_size == 8 && count <= kPageSize;
    return open ? count * instruction.operand_size : 0;
}

void finish_short_way(CpuState& state, const Instruction& instruction, uint64_t bytes) {
    state.gpr[kRdi] += bytes;
    if (instruction.repeat != Repeat::kNone) state.gpr[kRcx] = 0;
}

bool move_short(Cpu& cpu, const Instruction& instruction) {
    CpuState& state = cpu.state;
    uint64_t bytes = short_way_bytes(state, instruction), from = state.gpr[kRsi];
    if (bytes == 0) return false;
    if (instruction.segment != kNoRegister) from += state.segments[instruction.segment].base;
    Privilege privilege = current_privilege(cpu);
    const uint8_t* source = host_range<Access::kRead>(cpu, privilege, from, bytes);
    uint8_t* target = host_range<Access::kWrite>(cpu, privilege, state.gpr[kRdi], bytes);
    if (!source || !target) return false;
    copy_forward(target, source, bytes, instruction.operand_size);
    state.gpr[kRsi] += bytes;
    finish_short_way(state, instruction, bytes);
    return true;
}

bool store_short(Cpu& cpu, const Instruction& instruction) {
    CpuState& state = cpu.state;
    uint64_t bytes = short_way_bytes(state, instruction);
    if (bytes == 0) return false;
    uint8_t* target = host_range<Access::kWrite>(cpu, current_privilege(cpu), state.gpr[kRdi], bytes);
    if (!target) return false;
    unsigned size = instruction.operand_size;
    if (bytes == size)
        copy_operand(target, &state.gpr[kRax], size);
    else
        fill(target, bytes / size, size, state.gpr[kRax]);
    finish_short_way(state, instruction, bytes);
    return true;
}

}  // namespace

Outcome movs_instruction(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    if (move_short(cpu, instruction)) return Outcome::kNext;
    unsigned size = instruction.operand_size;
    StringRegisters registers(cpu.state, instruction, size);
    for (uint64_t remaining = registers.piece(kPieceBytes / size); remaining > 0 && !cpu.breakpoints.met();) {
        uint64_t done = move_some(cpu, registers, remaining, size, exception);
        if (done == 0) return Outcome::kFault;
        registers.advance_source(done);
        registers.advance_destination(done);
        registers.count_down(done);
        remaining -= done;
    }
    return registers.outcome();
}

Outcome stos_instruction(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    if (store_short(cpu, instruction)) return Outcome::kNext;
    unsigned size = instruction.operand_size;
    StringRegisters registers(cpu.state, instruction, size);
    for (uint64_t remaining = registers.piece(kPieceBytes / size); remaining > 0 && !cpu.breakpoints.met();) {
        uint64_t done = store_some(cpu, registers, remaining, size, exception);
        if (done == 0) return Outcome::kFault;
        registers.advance_destination(done);
        registers.count_down(done);
        remaining -= done;
    }
    return registers.outcome();
}

Outcome lods_instruction(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    unsigned size = instruction.operand_size;
    StringRegisters registers(cpu.state, instruction, size);
    for (uint64_t remaining = registers.piece(kPieceBytes / size); remaining > 0 && !cpu.breakpoints.met();
         --remaining) {
        uint64_t value = 0;
        if (!registers.may_read_source(cpu, exception) ||
            !read_virtual(cpu, registers.source(), &value, size, exception))
            return Outcome::kFault;
        write_register(cpu.state, kRax, size, value);
        registers.advance_source(1);
        registers.count_down(1);
    }
    return registers.outcome();
}

Outcome cmps_instruction(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    return compare(cpu, instruction, Left::kMemory, exception);
}

Outcome scas_instruction(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    return compare(cpu, instruction, Left::kAccumulator, exception);
}

}  // namespace lockstep::cpu
