// SPDX-License-Identifier: Apache-2.0
// AVX instructions with several accesses, which depend on a mask: VMASKMOV and VPMASKMOV, VGATHER and VPGATHER. All
// others are the translator's.
#include <algorithm>
#include <cstring>

#include "cpu/float_state.h"
#include "cpu/handlers.h"

namespace lockstep::cpu {

namespace {

constexpr unsigned kHalf = 16, kWhole = 32;

/// A YMM register in one piece.
struct Vector {
    uint8_t bytes[kWhole] = {};

    bool is_selected(unsigned element, unsigned size) const { return bytes[(element + 1) * size - 1] & 0x80; }
    void clear(unsigned element, unsigned size) { std::memset(bytes + element * size, 0, size); }
    /// Zero from this byte on.
    void clear_from(unsigned byte) { std::memset(bytes + byte, 0, kWhole - byte); }
    int64_t number(unsigned element, unsigned size) const {
        int64_t wide = 0;
        int32_t narrow = 0;
        std::memcpy(size == 8 ? static_cast<void*>(&wide) : &narrow, bytes + element * size, size);
        return size == 8 ? wide : narrow;
    }
};

Vector read_vector(const CpuState& state, unsigned number) {
    Vector vector;
    std::memcpy(vector.bytes, &state.fx.bytes[kFxXmm + number * kHalf], kHalf);
    std::memcpy(vector.bytes + kHalf, &state.upper_halves.bytes[number * kHalf], kHalf);
    return vector;
}

void write_vector(CpuState& state, unsigned number, const Vector& vector) {
    std::memcpy(&state.fx.bytes[kFxXmm + number * kHalf], vector.bytes, kHalf);
    std::memcpy(&state.upper_halves.bytes[number * kHalf], vector.bytes + kHalf, kHalf);
    state.upper_halves_used = 1;
}

/// Accesses to elements of the memory operand, each by itself. Their alignment is never checked: then they go byte by byte.
class Elements {
  public:
    Elements(Cpu& cpu, const Instruction& instruction, unsigned size)
        : cpu_(cpu), instruction_(instruction), size_(size), step_(checks_alignment(cpu.state) ? 1 : size) {}

    /// `offset`: in the operand's segment.
    [[nodiscard]] bool read(uint64_t offset, uint8_t* out, Exception& exception) const {
        bool stack = instruction_.stack_segment;
        return each(offset, Access::kRead, exception, [&](uint64_t at, unsigned done) {
            return stack ? read_stack(cpu_, at, out + done, step_, exception)
                         : read_virtual(cpu_, at, out + done, step_, exception);
        });
    }
    [[nodiscard]] bool write(uint64_t offset, const uint8_t* in, Exception& exception) const {
        bool stack = instruction_.stack_segment;
        return each(offset, Access::kWrite, exception, [&](uint64_t at, unsigned done) {
            return stack ? write_stack(cpu_, at, in + done, step_, exception)
                         : write_virtual(cpu_, at, in + done, step_, exception);
        });
    }
    [[nodiscard]] bool is_writable(uint64_t offset, Exception& exception) const {
        bool stack = instruction_.stack_segment;
        return each(offset, Access::kWrite, exception, [&](uint64_t at, unsigned) {
            return stack ? check_stack_writable(cpu_, at, step_, exception)
                         : check_writable(cpu_, at, step_, exception);
        });
    }

  private:
    template <typename Step>
    bool each(uint64_t offset, Access access, Exception& exception, Step&& step) const {
        uint64_t at = 0;
        if (!linear_address(cpu_, instruction_.segment, offset, size_, access, at, exception)) return false;
        for (unsigned done = 0; done < size_; done += step_)
            if (!step(at + done, done)) return false;
        return true;
    }

    Cpu& cpu_;
    const Instruction& instruction_;
    unsigned size_, step_;
};

Outcome masked_load(Cpu& cpu, const Instruction& instruction, unsigned size, Exception& exception) {
    if (!avx_available(cpu, exception)) return Outcome::kFault;
    Vector mask = read_vector(cpu.state, instruction.operands[1].number), loaded;
    Elements elements(cpu, instruction, size);
    uint64_t at = operand_offset(cpu, instruction);
    for (unsigned i = 0; i < instruction.vector_size / size; ++i)
        if (mask.is_selected(i, size) && !elements.read(at + i * size, loaded.bytes + i * size, exception))
            return Outcome::kFault;
    write_vector(cpu.state, instruction.operands[0].number, loaded);
    return Outcome::kNext;
}

/// Nothing is written unless all can be.
Outcome masked_store(Cpu& cpu, const Instruction& instruction, unsigned size, Exception& exception) {
    if (!avx_available(cpu, exception)) return Outcome::kFault;
    Vector mask = read_vector(cpu.state, instruction.operands[1].number);
    Vector data = read_vector(cpu.state, instruction.operands[2].number);
    Elements elements(cpu, instruction, size);
    uint64_t at = operand_offset(cpu, instruction);
    unsigned count = instruction.vector_size / size;
    for (unsigned i = 0; i < count; ++i)
        if (mask.is_selected(i, size) && !elements.is_writable(at + i * size, exception))
            return Outcome::kFault;
    for (unsigned i = 0; i < count; ++i)
        if (mask.is_selected(i, size) && !elements.write(at + i * size, data.bytes + i * size, exception))
            return Outcome::kFault;
    return Outcome::kNext;
}

Outcome masked_move(Cpu& cpu, const Instruction& instruction, unsigned size, Exception& exception) {
    bool store = instruction.operands[0].kind == OperandKind::kMemory;
    return store ? masked_store(cpu, instruction, size, exception)
                 : masked_load(cpu, instruction, size, exception);
}

/// Element by element: after a fault those before it are loaded, and their part of the mask is clear, so that it goes on
/// there (Intel SDM vol. 2, VPGATHERDD).
Outcome gather(Cpu& cpu, const Instruction& instruction, unsigned index_size, unsigned size,
               Exception& exception) {
    if (!avx_available(cpu, exception)) return Outcome::kFault;
    CpuState& state = cpu.state;
    unsigned target = instruction.operands[0].number, mask_number = instruction.operands[2].number;
    Vector to = read_vector(state, target), mask = read_vector(state, mask_number);
    const Vector indices = read_vector(state, instruction.vector_index);
    unsigned count = instruction.vector_size / std::max(index_size, size);
    Elements elements(cpu, instruction, size);
    bool done = true;
    for (unsigned i = 0; i < count && done; ++i) {
        if (mask.is_selected(i, size)) {
            auto offset = static_cast<uint64_t>(indices.number(i, index_size)) * instruction.scale;
            Vector loaded;  // a part of it may be there when the rest faults
            done = elements.read(operand_offset(cpu, instruction, offset), loaded.bytes, exception);
            if (done) std::memcpy(to.bytes + i * size, loaded.bytes, size);
        }
        if (done) mask.clear(i, size);
    }
    if (done) to.clear_from(count * size);
    if (done) mask.clear_from(0);
    write_vector(state, target, to);
    write_vector(state, mask_number, mask);
    return next_if(done);
}

}  // namespace

Outcome masked_move_of_doublewords(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    return masked_move(cpu, instruction, 4, exception);
}
Outcome masked_move_of_quadwords(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    return masked_move(cpu, instruction, 8, exception);
}
Outcome gather_doublewords_by_doublewords(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    return gather(cpu, instruction, 4, 4, exception);
}
Outcome gather_quadwords_by_doublewords(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    return gather(cpu, instruction, 4, 8, exception);
}
Outcome gather_doublewords_by_quadwords(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    return gather(cpu, instruction, 8, 4, exception);
}
Outcome gather_quadwords_by_quadwords(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    return gather(cpu, instruction, 8, 8, exception);
}

}  // namespace lockstep::cpu
