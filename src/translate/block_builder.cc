// SPDX-License-Identifier: Apache-2.0
#include "translate/block_builder.h"

#include "base/check.h"
#include "translate/accesses.h"

namespace lockstep::translate {

namespace {

/// Whether an instruction that doesn't count as a reader of all flags may raise an exception. Of x87 and SSE
/// each may: one can be pending, or unmasked.
bool may_fault(const GuestInstruction& instruction) {
    ZydisMnemonic mnemonic = instruction.decoded.mnemonic;
    bool divides = mnemonic == ZYDIS_MNEMONIC_DIV || mnemonic == ZYDIS_MNEMONIC_IDIV;
    return divides || instruction.uses_fpu() || accesses_of(instruction).count > 0;
}

}  // namespace

bool flags_dead(std::span<const GuestInstruction> block, size_t index) {
    uint8_t needed = kAllFlags;
    for (const GuestInstruction& instruction : block.subspan(index)) {
        if (instruction.flags_read & needed || may_fault(instruction)) return false;
        needed &= static_cast<uint8_t>(~instruction.flags_written);
        if (!needed) return true;
    }
    return false;
}

namespace {

/// A superblock of more would hold too much that is never reached.
constexpr unsigned kMostSideExits = 3;

/// Kinds whose code may change r13 for purposes of its own; the others say so where they do.
bool uses_all_temporaries(Kind kind) {
    switch (kind) {
        case Kind::kNothing:
        case Kind::kCopy:
        case Kind::kLea:
        case Kind::kPrefetch:
        case Kind::kPush:
        case Kind::kPop:
        case Kind::kConditional:
            return false;
        default:
            return true;
    }
}

/// The way out in front of an instruction that blocks don't hold.
ExitKind exit_kind(const GuestInstruction& instruction) {
    switch (instruction.kind) {
        case Kind::kInterpret:
            return ExitKind::kInterpret;
        case Kind::kInterpretFpu:
            return ExitKind::kInterpretFpu;
        case Kind::kUndefined:
            return ExitKind::kUndefined;
        case Kind::kTooLong:
            return ExitKind::kTooLong;
        default:
            return instruction.uses_avx() ? ExitKind::kAvxUnavailable : ExitKind::kFpuUnavailable;
    }
}

}  // namespace

BlockBuilder::BlockBuilder(CodeCache& cache, DirectTargets& targets, const EngineOptions& options,
                           const Exits& exits)
    : cache_(cache), targets_(targets), options_(options), exits_(exits), asm_(nullptr, nullptr) {}

Block& BlockBuilder::build(const BlockSource& source) {
    start(source);
    decode_run(source);
    plan();
    start_part(Part::kHot);
    emit_entries();
    emit_body();
    CHECK(lookups_ == plans_.size(), "{} look-ups for {} accesses in the block at {:#x}", lookups_,
          plans_.size(), source.pc);
    end_part();
    start_part(Part::kCold);
    for (const SideExit& exit : side_exits_) emit_side_exit(exit);
    for (size_t i = 0; i < cold_.size(); ++i) emit_cold_part(cold_[i]);
    end_part();
    block_->relocatable = relocatable_;
    block_->record_count = cache_.next_record(Shelf::kTranslated) - block_->first_record;
    block_->relocation_count = cache_.next_relocation() - block_->first_relocation;
    if (!source.transient) cache_.use(*block_);
    return *block_;
}

void BlockBuilder::start(const BlockSource& source) {
    source_ = source;
    if (source.transient) cache_.start_transient();
    block_ = &cache_.new_block(shelf());
    block_->pc = source.pc;
    block_->physical = source.physical;
    block_->second_page = source.second_page;
    block_->mode = source.mode;
    block_->first_record = cache_.next_record(Shelf::kTranslated);
    block_->first_relocation = cache_.next_relocation();
    cold_.clear();
    side_exits_.clear();
    stack_aligned_ = false;
    upper_halves_noted_ = false;
    stack_owed_ = 0;
    group_in_r13_.reset();
    lookups_ = 0;
    // Addresses of programs that lie at fixed places are short constants, and never others.
    relocatable_ = options_.copied_blocks && source.mode.user && source.pc >> 32 && !source.second_page &&
                   !source.transient;
}

void BlockBuilder::emit_body() {
    bool left = false;
    for (index_ = 0; index_ < block_->count; ++index_) {
        const GuestInstruction& instruction = run_[index_];
        flags_dead_ = flags_dead_before(index_);
        if (flags_dead_) flags_in_slot_ = false;
        if (!continues_stack_run(instruction)) pay_stack();
        resume_ = asm_.here();
        mark_ = cache_.add_mark({static_cast<uint32_t>(resume_ - block_->entry),
                                 static_cast<uint16_t>(instruction.pc - source_.pc), flags_in_slot_},
                                source_.transient);
        if (index_ == 0) block_->first_mark = mark_;
        emit_instruction(instruction);
        if (uses_all_temporaries(instruction.kind)) group_in_r13_.reset();
        left = instruction.ends_block() && (instruction.kind != Kind::kInterpret || is_transfer(instruction));
    }
    pay_stack();
    if (!left) emit_end();
}

// Behind a block's last instruction, which is no branch: what follows isn't for blocks, or for another one.
void BlockBuilder::emit_end() {
    const GuestInstruction* next = block_->count < decoded_ ? &run_[block_->count] : nullptr;
    uint64_t pc = block_->count ? run_[block_->count - 1].next_pc() : source_.pc;
    bool by_kind = next && block_->count < source_.limit;
    if (by_kind && next->kind >= Kind::kInterpret) {
        leave(exit_kind(*next), pc, 0);
    } else if (by_kind && !next->is_available(source_.mode.vectors)) {
        leave(exit_kind(*next), pc, 0);
    } else {
        jump_direct(pc);
    }
}

void BlockBuilder::start_part(Part part) {
    HostCode room = cache_.room(shelf(), part);
    asm_ = Assembler(room.start, room.end);
    part_ = part;
    block_->part(part).start = room.start;
}

void BlockBuilder::end_part() {
    HostCode& code = block_->part(part_);
    code.end = asm_.here();
    CHECK(code.size() < CodeCache::kLargestPart);
}

void BlockBuilder::relocate(RelocationKind kind, size_t size, size_t behind) {
    if (!relocatable_) return;
    auto offset = static_cast<uint16_t>(asm_.here() - block_->part(part_).start - size - behind);
    cache_.add_relocation({offset, kind, part_});
}

void BlockBuilder::emit_guest_address(HostReg to, uint64_t value) {
    if (!relocatable_) return asm_.mov_imm(to, value);
    asm_.mov_imm64(to, value);
    relocate(RelocationKind::kGuestAddress, 8);
}

void BlockBuilder::load_state(HostReg to, const uint64_t& field) {
    asm_.load_near(to, &field);
    relocate(RelocationKind::kNear, 4);
}

void BlockBuilder::store_state(uint64_t& field, HostReg from) {
    asm_.store_near(&field, from);
    relocate(RelocationKind::kNear, 4);
}

void BlockBuilder::jump_to_trampoline(const uint8_t* target) {
    asm_.jmp_to(target);
    relocate(RelocationKind::kNear, 4);
}

bool BlockBuilder::flags_dead_before(size_t index) const {
    return options_.dead_flags && flags_dead({run_.data(), block_->count}, index);
}

bool BlockBuilder::goes_on_behind(const GuestInstruction& instruction) const {
    bool forward = instruction.kind == Kind::kConditional && instruction.branch_target() > instruction.pc;
    return forward && options_.superblocks && !source_.mode.plain;
}

void BlockBuilder::plan() {
    if (source_.mode.window) return plan_looks({run_.data(), block_->count}, plans_);
    plan_lookups({run_.data(), block_->count}, plans_);
    bool shares =
        options_.shared_lookups && !source_.mode.plain && !source_.transient && !source_.second_page;
    for (AccessPlan& plan : plans_) {
        if (!shares) plan = {};
        block_->shares_lookups |= plan.sharing != Sharing::kNone;
    }
}

// Decodes the block's instructions, and the one behind them if that isn't for blocks.
void BlockBuilder::decode_run(const BlockSource& source) {
    decoded_ = 0;
    block_->count = 0;
    size_t at = 0;
    unsigned side_exits = 0;
    bool goes_on = true;
    while (goes_on) {
        if (run_.size() <= decoded_) run_.resize(decoded_ + 32);
        GuestInstruction& instruction = run_[decoded_];
        if (at == 0 && source.first) {
            instruction = *source.first;
        } else if (at >= source.bytes.size() ||
                   !decode(source.bytes.subspan(at), source.pc + at, instruction, source.width)) {
            break;
        }
        ++decoded_;
        at += instruction.length;
        bool system = is_translated_system(instruction);
        // What STI protects must not be left in front of it.
        if (block_->count && run_[block_->count - 1].decoded.mnemonic == ZYDIS_MNEMONIC_STI)
            system = system && !has_slow_way(instruction);
        bool unavailable = !instruction.is_available(source.mode.vectors);
        if (!system && (instruction.kind >= Kind::kInterpret || unavailable)) break;
        ++block_->count;
        side_exits += instruction.kind == Kind::kConditional;
        bool ends = instruction.ends_block() && (!system || is_transfer(instruction)) &&
                    !(goes_on_behind(instruction) && side_exits <= kMostSideExits);
        goes_on = !ends && block_->count < source.limit && !source.second_page;
    }
    // STI and the instruction that it protects come together.
    if (block_->count && run_[block_->count - 1].decoded.mnemonic == ZYDIS_MNEMONIC_STI) --block_->count;
    if (block_->count > 0) return;
    CHECK(decoded_ > 0, "translating at {:#x}: no instruction in {} bytes", source.pc, source.bytes.size());
    const GuestInstruction& first = run_[0];
    block_->interpret_only = true;
    block_->first_exit = exit_kind(first);
}

// r14 = the target that an indirect branch has; the jump cache guessed this block. The guest's flags are in
// their slot, as on all ways through tables.
void BlockBuilder::emit_check(const Block& block) {
    if (block.mode.window) return emit_check_in_window(block);
    bool is_short = static_cast<int64_t>(block.pc) == static_cast<int32_t>(block.pc);
    if (is_short && !relocatable_) {
        asm_.cmp_imm(kHostR14, static_cast<int32_t>(block.pc));
    } else {
        emit_guest_address(kHostR12, block.pc);
        asm_.cmp(kHostR14, kHostR12);
    }
    asm_.jcc_to(kNotEqual, block.mode.user ? exits_.user_jump_miss : exits_.kernel_jump_miss);
    relocate(RelocationKind::kNear, 4);
}

// The same without a change of flags: the block that r14 leads to may want them.
void BlockBuilder::emit_check_in_window(const Block& block) {
    bool is_short = block.pc < uint64_t{1} << 31;
    asm_.mov(kHostR13, kHostRcx);
    if (is_short && !relocatable_) {
        asm_.lea(kHostRcx, {.base = kHostR14, .disp = -static_cast<int32_t>(block.pc)});
    } else {
        asm_.mov_imm64(kHostR12, -block.pc);
        relocate(RelocationKind::kNegatedAddress, 8);
        asm_.lea(kHostRcx, {.base = kHostR14, .index = kHostR12});
    }
    Fixup same = asm_.jrcxz();
    asm_.mov(kHostRcx, kHostR13);
    jump_to_trampoline(exits_.window_jump_miss);
    asm_.bind_short(same);
    asm_.mov(kHostRcx, kHostR13);
}

bool BlockBuilder::add_checked_entry(Block& block) {
    constexpr size_t kBytes = 64;
    if (block.checked_entry) return true;
    HostCode room = cache_.room(block.shelf(), Part::kCold);
    if (room.size() < kBytes) return false;
    asm_ = Assembler(room.start, room.end);
    relocatable_ = false;
    block.checked_entry = asm_.here();
    emit_check(block);
    asm_.jmp_to(block.slot_entry);
    cache_.use_cold_until(block.shelf(), asm_.here());
    return true;
}

// The body finds the flags where its first use of them wants them; an entry from elsewhere brings them there.
// Where it overwrites them unseen they are right for the head alone, which is made for both places.
//
//     in the slot              in place                    dead behind the head        in the window
//     entry:          save     checked entry: compare      checked entry: compare      checked entry: compare
//     checked entry:  compare  slot entry:    restore      slot entry:    head, jmp    slot entry, entry:
//     slot entry:              entry:                      entry:                                     head
//                     head                    head                        head
void BlockBuilder::emit_entries() {
    index_ = 0;
    flags_in_slot_ = !source_.mode.window && !flags_are_used_first();
    head_stub_ = asm_.here();
    if (!flags_in_slot_ && block_->count > 0 && source_.head == Head::kStops) emit_head_stub();
    Fixup over = nullptr;
    block_->entry = asm_.here();
    // A transient block is entered by the dispatcher alone, who has put the flags into both places.
    if (flags_in_slot_ && !source_.transient) {
        save_flags();
        if (source_.checked) over = asm_.jmp_short();
    }
    if (source_.checked) {
        block_->checked_entry = asm_.here();
        emit_check(*block_);
    }
    if (over) asm_.bind_short(over);
    block_->slot_entry = asm_.here();
    Fixup over_head = nullptr;
    if (!flags_in_slot_ && !source_.mode.window && !source_.transient) {
        if (flags_dead_before(0)) {
            emit_head_for_slot();
            over_head = asm_.jmp_short();
        } else {
            restore_flags();
        }
    }
    if (!flags_in_slot_) block_->entry = asm_.here();
    emit_head();
    if (over_head) asm_.bind_short(over_head);
}

// Before the entries, since a JRCXZ doesn't reach far.
void BlockBuilder::emit_head_stub() {
    uint32_t record = add_record({.kind = ExitKind::kBudget, .credit = block_->count, .pc = source_.pc});
    cold_.push_back({.fixup = asm_.jmp(), .record = record, .flags = Flags::kHostRcxSaved});
}

void BlockBuilder::emit_head() {
    if (block_->count == 0) return;
    if (source_.head == Head::kNoStop) {
        asm_.lea(kHostR11, {.base = kHostR11, .disp = block_->count});
    } else if (flags_in_slot_) {
        emit_head_for_slot();
    } else {
        emit_head_with_flags();
    }
}

void BlockBuilder::emit_head_for_slot() {
    uint32_t record = add_record({.kind = ExitKind::kBudget, .credit = block_->count, .pc = source_.pc});
    asm_.add_imm(kHostR11, block_->count);
    cold_.push_back({.fixup = asm_.jcc(kNotSign), .record = record, .flags = Flags::kSlot});
}

// Without a change of flags: the shift leaves nothing but copies of the counter's sign, of which JRCXZ knows
// zero. Its count, of which the CPU takes six bits, is where r15 points.
void BlockBuilder::emit_head_with_flags() {
    static_assert(alignof(cpu::CpuState) % 64 == 0 && kStopBias < uint64_t{1} << kStateBias % 64);
    asm_.lea(kHostR11, {.base = kHostR11, .disp = block_->count});
    asm_.mov(kHostR12, kHostRcx);
    asm_.sarx(kHostRcx, kHostR11, kHostR15);
    asm_.jrcxz_to(head_stub_);
    asm_.mov(kHostRcx, kHostR12);
}

// Whether an instruction needs the flags in place before anything wants them in their slot: an access to
// memory, or the way out.
bool BlockBuilder::flags_are_used_first() const {
    for (size_t i = 0; i < block_->count; ++i) {
        const GuestInstruction& instruction = run_[i];
        switch (instruction.kind) {
            case Kind::kLea:
            case Kind::kPrefetch:
            case Kind::kNothing:
                break;
            case Kind::kConditional:
            case Kind::kLoop:
                return true;
            case Kind::kCopy:
                if (instruction.memory_operand()) return false;
                if (instruction.touches_flags) return true;
                break;
            default:
                return false;
        }
    }
    return false;
}

void BlockBuilder::free_flags() {
    if (flags_dead_ || flags_in_slot_) return;
    save_flags();
    flags_in_slot_ = true;
}

void BlockBuilder::put_flags_in_slot() {
    if (!flags_in_slot_) save_flags();
    flags_in_slot_ = true;
}

void BlockBuilder::save_flags() {
    asm_.mov(kHostR12, kHostRax);
    asm_.lahf();
    asm_.seto_al();
    store_state(cache_.state().flags_slot, kHostRax);
    asm_.mov(kHostRax, kHostR12);
}

void BlockBuilder::need_flags() {
    if (flags_in_slot_) restore_flags();
    flags_in_slot_ = false;
}

void BlockBuilder::restore_flags() {
    asm_.mov(kHostR12, kHostRax);
    load_state(kHostRax, cache_.state().flags_slot);
    asm_.add_al(0x7f);  // overflows where AL is 1
    asm_.sahf();
    asm_.mov(kHostRax, kHostR12);
}

void BlockBuilder::note_operation() { cache_.mark(mark_, source_.transient).flags_in_slot = flags_in_slot_; }

void BlockBuilder::emit_instruction(const GuestInstruction& instruction) {
    switch (instruction.kind) {
        case Kind::kNothing:
            break;
        case Kind::kCopy:
            emit_copy(instruction);
            break;
        case Kind::kLea:
            emit_lea(instruction);
            break;
        case Kind::kPrefetch:
            emit_prefetch(instruction);
            break;
        case Kind::kMoveOffset:
            emit_move_offset(instruction);
            break;
        case Kind::kBitString:
            emit_bit_string(instruction);
            break;
        case Kind::kPush:
            emit_push(instruction);
            break;
        case Kind::kPop:
            emit_pop(instruction);
            break;
        case Kind::kLeave:
            emit_leave(instruction);
            break;
        case Kind::kCall:
            emit_call(instruction);
            break;
        case Kind::kCallIndirect:
            emit_call_indirect(instruction);
            break;
        case Kind::kJump:
            emit_jump(instruction);
            break;
        case Kind::kJumpIndirect:
            emit_jump_indirect(instruction);
            break;
        case Kind::kConditional:
            emit_conditional(instruction);
            break;
        case Kind::kLoop:
            emit_loop(instruction);
            break;
        case Kind::kReturn:
            emit_return(instruction);
            break;
        case Kind::kInterpret:
            emit_system(instruction);
            break;
        case Kind::kInterpretFpu:
        case Kind::kUndefined:
        case Kind::kTooLong:
            CHECK(false, "not part of a block");
            break;
    }
}

uint32_t BlockBuilder::add_record(ExitRecord record) {
    record.block = block_;
    return cache_.add_record(record, shelf());
}

void BlockBuilder::leave(ExitKind kind, uint64_t pc, uint16_t unexecuted) {
    emit_exit(add_record({.kind = kind, .credit = unexecuted, .pc = pc}), flags_in_slot_);
}

void BlockBuilder::emit_exit(uint32_t record, bool flags_in_slot) {
    asm_.mov_imm(kHostR12, record);
    relocate(RelocationKind::kRecord, 4);
    jump_to_trampoline(flags_in_slot ? exits_.flags_in_slot : exits_.common);
}

// A jump of the hot part comes here, to the cold one.
void BlockBuilder::bind_from_hot(Fixup fixup) {
    asm_.bind_here(fixup);
    if (!relocatable_) return;
    auto offset = static_cast<uint16_t>(fixup - block_->part(Part::kHot).start);
    cache_.add_relocation({offset, RelocationKind::kAcross, Part::kHot});
}

void BlockBuilder::emit_side_exit(const SideExit& exit) {
    bind_from_hot(exit.fixup);
    if (exit.second) bind_from_hot(exit.second);
    flags_in_slot_ = exit.flags_in_slot;
    if (exit.unexecuted) asm_.lea(kHostR11, {.base = kHostR11, .disp = -exit.unexecuted});
    if (exit.plain) {
        link(asm_.jmp(), exit.target, true);
    } else {
        jump_direct(exit.target);
    }
}

void BlockBuilder::emit_cold_part(const ColdPart& part) {
    ExitRecord& record = cache_.record(part.record);
    if (part.misaligned) {
        bind_from_hot(part.misaligned);
        asm_.mov32(kHostR13, part.address);
        asm_.and32_imm(kHostR13, kPageMask);
        asm_.cmp32_imm(kHostR13, static_cast<int32_t>(kPageSize - part.size));
        asm_.jcc_to(kBelowEqual, part.back);
        relocate(RelocationKind::kAcross, 4);
    }
    if (record.kind == ExitKind::kLink) {  // copies bind it by the record
        asm_.bind_here(part.fixup);
        record.stub = asm_.here();
    } else {
        bind_from_hot(part.fixup);
    }
    if (part.address != kNoReg) asm_.mov(kHostR14, part.address);
    if (part.flags == Flags::kHostRcxSaved) asm_.mov(kHostRcx, kHostR12);
    emit_exit(part.record, part.flags == Flags::kSlot);
}

}  // namespace lockstep::translate
