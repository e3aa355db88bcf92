// SPDX-License-Identifier: Apache-2.0
// RSI, RDI and RCX of a string instruction: stepping, wrapping with narrow addresses, pieces of a long REP.
#pragma once

#include <algorithm>
#include <bit>

#include "cpu/virtual_memory.h"

namespace lockstep::cpu {

class StringRegisters {
  public:
    StringRegisters(CpuState& state, const Instruction& instruction, unsigned element_size)
        : state_(state),
          instruction_(instruction),
          size_(element_size),
          shift_(static_cast<unsigned>(std::countr_zero(element_size))),
          mask_(mask_of_size(instruction.address_size)) {}

    /// Linear addresses of the present elements.
    uint64_t source() const { return linear(instruction_.segment, kRsi); }
    uint64_t destination() const { return linear(narrow() ? uint8_t{kEs} : kNoRegister, kRdi); }

    /// Outside 64-bit code: whether the segments permit the present elements.
    [[nodiscard]] bool may_read_source(const Cpu& cpu, Exception& exception) const {
        return !narrow() || allows(cpu, instruction_.segment, kRsi, Access::kRead, exception);
    }
    [[nodiscard]] bool may_reach_destination(const Cpu& cpu, Access access, Exception& exception) const {
        return !narrow() || allows(cpu, kEs, kRdi, access, exception);
    }

    bool repeated() const { return instruction_.repeat != Repeat::kNone; }
    bool backward() const { return state_.rflags & kFlagDf; }
    /// How many elements to do now: all that RCX says, but at most `limit`, and one at a time under TF.
    uint64_t piece(uint64_t limit) const {
        if (!repeated()) return 1;
        uint64_t count = state_.gpr[kRcx] & mask_;
        return std::min(count, state_.rflags & kFlagTf ? 1 : limit);
    }

    void advance_source(uint64_t elements) { advance(kRsi, elements); }
    void advance_destination(uint64_t elements) { advance(kRdi, elements); }
    void count_down(uint64_t elements) {
        if (repeated() && elements)
            write_register(state_, kRcx, instruction_.address_size, state_.gpr[kRcx] - elements);
    }
    /// After the piece: done, or more to come.
    Outcome outcome() const {
        return repeated() && (state_.gpr[kRcx] & mask_) ? Outcome::kAgain : Outcome::kNext;
    }

    /// Elements from `linear` on that lie whole on its page and before the register wraps; 0 where the first
    /// one crosses, for backward steps, and where each one's alignment is checked.
    uint64_t contiguous(uint64_t linear, Gpr gpr) const {
        if (backward() || checks_alignment(state_)) return 0;
        uint64_t bytes = kPageSize - (linear & kPageMask);
        if (narrow())
            bytes = std::min(bytes, room_in_segment(gpr == kRdi ? uint8_t{kEs} : instruction_.segment, gpr));
        uint64_t to_wrap = mask_ - (state_.gpr[gpr] & mask_);
        return std::min(bytes, to_wrap) >> shift_;
    }

  private:
    bool narrow() const { return instruction_.width != CodeWidth::k64; }
    uint64_t linear(uint8_t segment, Gpr gpr) const {
        uint64_t at = state_.gpr[gpr] & mask_;
        if (segment != kNoRegister) at += state_.segments[segment].base;
        return narrow() ? static_cast<uint32_t>(at) : at;
    }
    bool allows(const Cpu& cpu, unsigned segment, Gpr gpr, Access access, Exception& exception) const {
        uint64_t unused = 0;
        return linear_address(cpu, segment, state_.gpr[gpr] & mask_, size_, access, unused, exception);
    }

    /// Bytes from the present element to its segment's end.
    uint64_t room_in_segment(unsigned number, Gpr gpr) const {
        const SegmentRegister& segment = state_.segments[number];
        if (expands_down(segment)) return size_;
        uint64_t offset = state_.gpr[gpr] & mask_;
        return offset <= segment.limit ? segment.limit - offset + 1 : 0;
    }

    void advance(Gpr gpr, uint64_t elements) {
        if (elements == 0) return;
        uint64_t bytes = elements * size_;
        uint64_t moved = backward() ? state_.gpr[gpr] - bytes : state_.gpr[gpr] + bytes;
        write_register(state_, gpr, instruction_.address_size, moved);
    }

    CpuState& state_;
    const Instruction& instruction_;
    unsigned size_, shift_;
    uint64_t mask_;
};

}  // namespace lockstep::cpu
