// SPDX-License-Identifier: Apache-2.0
#include "translate/trampolines.h"

#include <array>
#include <span>

#include "translate/assembler.h"
#include "translate/direct_targets.h"
#include "translate/jump_cache.h"
#include "translate/jump_index.h"

namespace lockstep::translate {

namespace {

/// Added to AL, it sets OF where SETO had put 1 there.
constexpr uint8_t kOverflowAtOne = 0x7f;
/// Where the guest's flags are on a way through tables: see block_builder.h.
enum class FlagsOnMiss : uint8_t { kInSlot, kInPlace };
constexpr HostReg kCalleeSaved[] = {kHostRbx, kHostRbp, kHostR12, kHostR13, kHostR14, kHostR15};

HostMem gpr(unsigned number) {
    return {.base = kHostR15,
            .disp = static_cast<int32_t>(offsetof(cpu::CpuState, gpr) + number * 8) - kStateBias};
}

/// MOVUPS between an XMM register and its place in the FXSAVE image.
void move_xmm(Assembler& out, uint8_t opcode, uint8_t number) {
    constexpr size_t kXmmStart = 160;
    HostMem place{
        .base = kHostR15,
        .disp = static_cast<int32_t>(offsetof(cpu::CpuState, fx) + kXmmStart + number * 16u) - kStateBias};
    out.rex_mem(false, number, place);
    out.bytes({0x0f, opcode});
    out.modrm_mem(number, place);
}

constexpr HostMem kUpperHalvesUsed = state_field(offsetof(cpu::CpuState, upper_halves_used));
constexpr HostMem kUpperHalvesSaved = state_field(offsetof(cpu::CpuState, upper_halves_saved));

HostMem upper_half(uint8_t number) {
    return state_field(offsetof(cpu::CpuState, upper_halves) + number * 16u);
}

/// The flags change.
void load_upper_halves(Assembler& out) {
    out.cmp8_mem_imm(kUpperHalvesUsed, 0);
    Fixup used = out.jcc(kNotEqual);
    out.vzeroupper();
    Fixup done = out.jmp();
    out.bind_here(used);
    for (uint8_t number = 0; number < 16; ++number) out.load_upper_half(number, upper_half(number));
    out.store8_imm(kUpperHalvesSaved, 1);
    out.bind_here(done);
}

/// Where all are zero, and were when they were saved last, nothing is to be done. RAX and the flags change.
void save_upper_halves(Assembler& out) {
    static_assert(offsetof(cpu::CpuState, upper_halves_saved) ==
                  offsetof(cpu::CpuState, upper_halves_used) + 1);
    out.cmp16_mem_imm(kUpperHalvesUsed, 0);  // both
    Fixup unused = out.jcc(kEqual);
    for (uint8_t number = 0; number < 16; ++number) out.store_upper_half(upper_half(number), number);
    out.movzx8(kHostRax, kUpperHalvesUsed);
    out.store8(kUpperHalvesSaved, kHostRax);
    out.vzeroupper();  // or some CPUs are slow with what C++ does
    out.bind_here(unused);
}

void write_enter(Assembler& out, EngineState& state, Trampolines& made, Trampolines::Avx avx) {
    made.enter = reinterpret_cast<void (*)(cpu::CpuState*)>(out.here());
    for (HostReg reg : kCalleeSaved) out.push(reg);
    out.store_near(&state.host_stack, kHostRsp);
    out.lea(kHostR15, {.base = kHostRdi, .disp = kStateBias});
    for (uint8_t number = 0; number < 16; ++number) move_xmm(out, 0x10, number);
    if (avx == Trampolines::Avx::kOffered) load_upper_halves(out);
    out.load_near(kHostRax, &state.flags);
    out.add_al(kOverflowAtOne);
    out.sahf();
    for (unsigned number = 0; number < cpu::kR10; ++number)
        out.load(static_cast<HostReg>(number), gpr(number));
    out.load_near(kHostR10, &state.read_base);
    out.load_near(kHostR12, &state.entry_r12);
    out.load_near(kHostR13, &state.entry_r13);
    out.load_near(kHostR14, &state.entry_address);
    out.load_near(kHostR11, &state.counter);
    made.loaded = out.here();
    out.jmp_near(&state.target);
    made.entered = out.here();
}

void write_exit(Assembler& out, EngineState& state, Trampolines& made, Trampolines::Avx avx) {
    made.exits.common = out.here();
    for (unsigned number = 0; number < cpu::kR10; ++number)
        out.store(gpr(number), static_cast<HostReg>(number));
    out.lahf();
    out.seto_al();
    out.store_near(&state.flags, kHostRax);
    out.store_near(&state.exit_record, kHostR12);
    out.store_near(&state.exit_address, kHostR14);
    out.store_near(&state.counter, kHostR11);
    for (uint8_t number = 0; number < 16; ++number) move_xmm(out, 0x11, number);
    if (avx == Trampolines::Avx::kOffered) save_upper_halves(out);
    out.load_near(kHostRsp, &state.host_stack);
    for (size_t i = std::size(kCalleeSaved); i-- > 0;) out.pop(kCalleeSaved[i]);
    out.byte(0xc3);
}

/// The exit for where the guest's flags are in the slot.
const uint8_t* write_exit_from_slot(Assembler& out, EngineState& state, const uint8_t* exit) {
    const uint8_t* start = out.here();
    out.mov(kHostR13, kHostRax);
    out.load_near(kHostRax, &state.flags_slot);
    out.add_al(kOverflowAtOne);
    out.sahf();
    out.mov(kHostRax, kHostR13);
    out.jmp_to(exit);
    return start;
}

const uint8_t* write_exit_with(Assembler& out, uint32_t record, const uint8_t* exit) {
    const uint8_t* start = out.here();
    out.mov_imm(kHostR12, record);
    out.jmp_to(exit);
    return start;
}

constexpr uint8_t kSizeShift = 5;  // of the entries below
static_assert(sizeof(JumpCache::Page) == 1 << kSizeShift && sizeof(JumpIndex::Entry) == 1 << kSizeShift);

HostMem field(HostReg base, size_t offset) { return {.base = base, .disp = static_cast<int32_t>(offset)}; }

/// Looks for r14 = target in the jump index: afterwards RAX is the entry. Temporaries: r12, r13.
std::array<Fixup, 3> look_up_index(Assembler& out, EngineState& state, const uint64_t& pages) {
    std::array<Fixup, 3> misses{};
    out.mov(kHostRax, kHostR14);  // RAX = page number, r12 = JumpCache::Page
    out.shr_imm(kHostRax, 12);
    out.mov32(kHostR12, kHostRax);
    out.and32_imm(kHostR12, JumpCache::kPages - 1);
    out.shl32_imm(kHostR12, kSizeShift);
    out.load_near(kHostR13, &pages);
    out.lea(kHostR12, {.base = kHostR12, .index = kHostR13});
    out.load(kHostR13, field(kHostR12, offsetof(JumpCache::Page, number)));
    out.cmp(kHostR13, kHostRax);
    misses[0] = out.jcc(kNotEqual);
    out.load(kHostR13, field(kHostR12, offsetof(JumpCache::Page, key)));
    out.load(kHostRax, field(kHostR12, offsetof(JumpCache::Page, start)));
    out.add32(kHostRax, kHostR14);  // RAX = JumpIndex::Entry
    out.and32_imm(kHostRax, JumpIndex::kEntries - 1);
    out.shl32_imm(kHostRax, kSizeShift);
    out.load_near(kHostR12, &state.jump_index);
    out.lea(kHostRax, {.base = kHostRax, .index = kHostR12});
    out.load(kHostR12, field(kHostRax, offsetof(JumpIndex::Entry, pc)));
    out.cmp(kHostR12, kHostR14);
    misses[1] = out.jcc(kNotEqual);
    out.load(kHostR12, field(kHostRax, offsetof(JumpIndex::Entry, key)));
    out.cmp(kHostR12, kHostR13);
    misses[2] = out.jcc(kNotEqual);
    return misses;
}

void write_unknown(Assembler& out, EngineState& state, std::span<const Fixup> misses) {
    for (Fixup miss : misses) out.bind_here(miss);
    out.load_near(kHostRax, &state.saved_rax);
}

/// RAX is saved, and the flags are in their slot afterwards.
void save_for_miss(Assembler& out, EngineState& state, FlagsOnMiss flags) {
    out.store_near(&state.saved_rax, kHostRax);
    if (flags == FlagsOnMiss::kInSlot) return;
    out.lahf();
    out.seto_al();
    out.store_near(&state.flags_slot, kHostRax);
}

/// RAX, and the flags where they were.
void restore_after_miss(Assembler& out, EngineState& state, FlagsOnMiss flags) {
    if (flags == FlagsOnMiss::kInPlace) {
        out.load_near(kHostRax, &state.flags_slot);
        out.add_al(kOverflowAtOne);
        out.sahf();
    }
    out.load_near(kHostRax, &state.saved_rax);
}

// An indirect branch that the jump cache doesn't know. r14 = target.
const uint8_t* write_jump_miss(Assembler& out, EngineState& state, const uint64_t& jumps,
                               const uint64_t& pages, FlagsOnMiss flags, const uint8_t* unknown) {
    const uint8_t* start = out.here();
    save_for_miss(out, state, flags);
    std::array<Fixup, 3> misses = look_up_index(out, state, pages);
    out.load(kHostR12, field(kHostRax, offsetof(JumpIndex::Entry, checked_entry)));
    out.test(kHostR12, kHostR12);
    Fixup unchecked = out.jcc(kEqual);
    out.rorx(kHostR13, kHostR14, JumpCache::kIndexShift);  // JumpCache::index_of()
    out.lea(kHostR13, {.base = kHostR13, .index = kHostR14});
    out.movzx16(kHostR13, kHostR13);
    out.load_near(kHostRax, &jumps);
    out.store({.base = kHostRax, .index = kHostR13, .scale = 8}, kHostR12);
    restore_after_miss(out, state, flags);
    out.jmp_reg(kHostR12);
    out.bind_here(unchecked);
    write_unknown(out, state, misses);
    out.jmp_to(unknown);
    return start;
}

/// The fields of EngineState that direct branches of user code go by, or of kernel code.
struct DirectWays {
    const uint64_t& pages;
    const uint64_t& targets;
    const uint64_t& journal;
};

// A direct branch through an empty slot. r13 = slot.
const uint8_t* write_direct_miss(Assembler& out, EngineState& state, const DirectWays& ways,
                                 FlagsOnMiss flags, const uint8_t* exit) {
    const uint8_t* start = out.here();
    save_for_miss(out, state, flags);
    out.store_near(&state.missed_slot, kHostR13);
    out.load_near(kHostR14, &state.target_addresses);
    out.load(kHostR14, {.base = kHostR14, .index = kHostR13, .scale = 8});
    std::array<Fixup, 3> misses = look_up_index(out, state, ways.pages);
    out.load(kHostR12, field(kHostRax, offsetof(JumpIndex::Entry, slot_entry)));
    out.load_near(kHostRax, &ways.journal);  // r13 = the journal's end
    out.load(kHostR13, field(kHostRax, offsetof(DirectTargets::Journal, next)));
    out.cmp_mem(kHostR13, field(kHostRax, offsetof(DirectTargets::Journal, end)));
    Fixup full = out.jcc(kEqual);
    out.load_near(kHostR14, &state.missed_slot);
    out.store32({.base = kHostR13}, kHostR14);
    out.lea(kHostR13, {.base = kHostR13, .disp = sizeof(uint32_t)});
    out.store(field(kHostRax, offsetof(DirectTargets::Journal, next)), kHostR13);
    out.load_near(kHostRax, &ways.targets);
    out.store({.base = kHostRax, .index = kHostR14, .scale = 8}, kHostR12);
    restore_after_miss(out, state, flags);
    out.jmp_reg(kHostR12);
    out.bind_here(full);
    write_unknown(out, state, misses);
    out.mov_imm(kHostR12, kDirectRecord);
    out.jmp_to(exit);
    return start;
}

// A transfer to another privilege level. r14 = target, the flags in their slot; `flags`: where the code there wants them.
const uint8_t* write_transfer(Assembler& out, EngineState& state, const uint64_t& jumps, FlagsOnMiss flags) {
    const uint8_t* start = out.here();
    if (flags == FlagsOnMiss::kInPlace) {
        out.store_near(&state.saved_rax, kHostRax);
        restore_after_miss(out, state, flags);
    }
    out.load_near(kHostR12, &jumps);
    out.rorx(kHostR13, kHostR14, JumpCache::kIndexShift);  // JumpCache::index_of()
    out.lea(kHostR13, {.base = kHostR13, .index = kHostR14});
    out.movzx16(kHostR13, kHostR13);
    out.jmp_mem({.base = kHostR12, .index = kHostR13, .scale = 8});
    return start;
}

}  // namespace

Trampolines Trampolines::write(CodeCache& cache, Avx avx) {
    Assembler out(cache.trampolines(), cache.trampolines_end());
    EngineState& state = cache.state();
    Trampolines made;
    write_enter(out, state, made, avx);
    write_exit(out, state, made, avx);
    made.exits.flags_in_slot = write_exit_from_slot(out, state, made.exits.common);
    made.exits.indirect_miss = write_exit_with(out, kIndirectRecord, made.exits.flags_in_slot);
    made.jump_misses = out.here();
    Exits& exits = made.exits;
    exits.user_jump_miss = write_jump_miss(out, state, state.user_jumps, state.user_pages,
                                           FlagsOnMiss::kInSlot, exits.indirect_miss);
    exits.window_jump_miss = write_jump_miss(out, state, state.user_jumps, state.user_pages,
                                             FlagsOnMiss::kInPlace, exits.indirect_miss);
    exits.kernel_jump_miss = write_jump_miss(out, state, state.kernel_jumps, state.kernel_pages,
                                             FlagsOnMiss::kInSlot, exits.indirect_miss);
    DirectWays user{state.user_pages, state.user_targets, state.target_journal};
    DirectWays kernel{state.kernel_pages, state.kernel_targets, state.kernel_journal};
    exits.direct_miss = write_direct_miss(out, state, user, FlagsOnMiss::kInSlot, exits.flags_in_slot);
    exits.window_direct_miss =
        write_direct_miss(out, state, user, FlagsOnMiss::kInPlace, exits.flags_in_slot);
    exits.kernel_direct_miss =
        write_direct_miss(out, state, kernel, FlagsOnMiss::kInSlot, exits.flags_in_slot);
    exits.into_kernel = write_transfer(out, state, state.kernel_jumps, FlagsOnMiss::kInSlot);
    exits.into_user = write_transfer(out, state, state.user_jumps, FlagsOnMiss::kInSlot);
    exits.into_window = write_transfer(out, state, state.user_jumps, FlagsOnMiss::kInPlace);
    made.jump_misses_end = out.here();
    made.fault = write_exit_with(out, kHostFaultRecord, made.exits.common);
    made.unpark = out.here();
    out.load_near(kHostRsp, &state.parked.rsp);
    made.unparked = out.here();
    out.jmp_near(&state.parked.pc);
    return made;
}

}  // namespace lockstep::translate
