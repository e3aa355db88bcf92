// SPDX-License-Identifier: Apache-2.0
// Builds one translation block.
//
// HOST REGISTERS in translated code
//     r15        &CpuState + kStateBias: guest registers r10..r15, segment bases, slots of shared
//                look-ups, the write map's address, all at one-byte displacements
//     r11        the counter: -(instructions left) - 1; a block's head adds its length, >= 0 leaves
//     r10        the read map's base, and BEXTR's control (see shadow_map.h). In the window: its table, and
//                SHRX's count (see host_window.h)
//     r12 r13 r14   temporaries; at an exit r12 = exit record, r14 = address
//     all else   the guest's register of the same name, RSP, XMM, x87 and arithmetic flags included
// RFLAGS.DF is always clear in host code; the guest's is in CpuState::rflags.
//
// A BLOCK
//     checked entry   compares r14 with the block's pc: a wrong guess of the jump cache leaves. Blocks that
//                     an indirect branch has led to have one, here or elsewhere
//     entries         one for flags in place, one for flags in their slot
//     head            counts
//     instructions    each first makes sure of all its memory accesses, then changes state: precise faults
//     exits           one for each way out
//     cold part       stubs of the rare cases, elsewhere in the code cache
//
// FLAGS. Code of ours that changes flags may stand only where the guest's are dead (flags_dead()), otherwise
// they are put into a slot of EngineState first (LAHF, SETO by RAX, with RAX in r12), and stay there until an
// instruction needs them. They are dead where nothing can show them: the block overwrites them unread, and
// may neither fault nor be left before that. So they never are at its head.
//
// From one block to the next they may stay in the slot: a block has an entry for either place. On the ways
// through tables (jump cache, direct targets) they are always in the slot, so what is done on the way may use
// the host's. Where they are dead behind the successor's head it has a head for either place, and nothing is
// restored.
//
// In the window hardly any code of ours changes flags: they are always in place between blocks, on the ways
// through tables too.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "cpu/cpu_state.h"
#include "translate/assembler.h"
#include "translate/code_cache.h"
#include "translate/direct_targets.h"
#include "translate/engine_options.h"
#include "translate/guest_instruction.h"
#include "translate/shared_lookups.h"

namespace lockstep::translate {

inline constexpr int32_t kStateBias = 175;  ///< its low six bits are the count of shifts by r15

/// A field of CpuState in translated code, by its offset.
constexpr HostMem state_field(size_t offset) {
    return {.base = kHostR15, .disp = static_cast<int32_t>(offset) - kStateBias};
}
inline constexpr HostMem kRflags = state_field(offsetof(cpu::CpuState, rflags));

/// Whether the arithmetic flags are dead before instruction `index` of a block: nothing can show them.
bool flags_dead(std::span<const GuestInstruction> block, size_t index);

/// What a block does at its head: look whether it may run, or not, where a part of its one instruction has
/// been done already.
enum class Head : uint8_t { kStops, kNoStop };

/// What a block is made from.
struct BlockSource {
    uint64_t pc = 0;
    GuestPhys physical;
    std::span<const uint8_t>
        bytes;  ///< from the block's start to the end of its page (or of its one instruction)
    uint64_t second_page = 0;
    Mode mode{};
    unsigned limit = 1;  ///< instructions at most
    cpu::CodeWidth width = cpu::CodeWidth::k64;
    bool transient = false;
    bool checked = false;  ///< with a checked entry
    bool by_space = true;  ///< what lies on other pages of its half depends on the address space
    Head head = Head::kStops;
    const GuestInstruction* first = nullptr;  ///< the first instruction, where it has been decoded already
    /// For slow accesses: the first, second access of the one instruction finds this as `host - guest`
    /// instead of what the shadow map has.
    std::span<const uint64_t> deltas;
};

/// Addresses in the trampolines that blocks jump to.
struct Exits {
    const uint8_t* common = nullptr;          ///< r12 = exit record, r14 = address
    const uint8_t* flags_in_slot = nullptr;   ///< the same; the guest's flags are in EngineState::flags_slot
    const uint8_t* indirect_miss = nullptr;   ///< r14 = target: the dispatcher
    const uint8_t* user_jump_miss = nullptr;  ///< r14 = target: the jump index, else the dispatcher
    const uint8_t* kernel_jump_miss = nullptr;
    const uint8_t* direct_miss = nullptr;  ///< r13 = slot: the jump index, else the dispatcher
    const uint8_t* kernel_direct_miss = nullptr;
    /// The same with the flags in place.
    const uint8_t* window_jump_miss = nullptr;
    const uint8_t* window_direct_miss = nullptr;
    /// From one privilege level to the other: r14 = target, the flags in their slot.
    const uint8_t* into_kernel = nullptr;
    const uint8_t* into_user = nullptr;
    const uint8_t* into_window = nullptr;
};

class BlockBuilder {
  public:
    BlockBuilder(CodeCache& cache, DirectTargets& targets, const EngineOptions& options, const Exits& exits);

    /// Translates. The cache must have room.
    Block& build(const BlockSource& source);
    /// Gives a block its checked entry, if it has none. False: the cache is full.
    bool add_checked_entry(Block& block);

  private:
    /// A guest general register in an encoding field.
    struct Field {
        bool is_gpr = false;
        uint8_t number = 0;  ///< guest number; of a non-general register its encoding
        uint8_t host = 0;
        bool read = false;
        bool write = false;
        bool spilled() const { return is_gpr && number >= cpu::kR10; }
    };
    /// The register fields of an instruction that is copied.
    struct Fields {
        Field reg;     ///< ModRM.reg, or the opcode's low bits
        Field rm;      ///< ModRM.rm, if a register
        Field second;  ///< VEX.vvvv
    };
    /// Where the guest's flags are: in place, in the slot, or in place with RCX in r12.
    enum class Flags : uint8_t { kHost, kSlot, kHostRcxSaved };
    /// A rare way out, in the block's cold part.
    struct ColdPart {
        Fixup fixup = nullptr;  ///< leads to the exit
        uint32_t record = 0;
        Flags flags = Flags::kHost;
        HostReg address = kNoReg;    ///< moved to r14
        Fixup misaligned = nullptr;  ///< leads to a test whether `size` bytes at `address` stay in their page
        uint8_t size = 0;
        uint8_t* back = nullptr;  ///< where it goes on then
    };

    /// A way out of the middle of a block to a guest address, by the cold part.
    struct SideExit {
        Fixup fixup = nullptr;
        Fixup second = nullptr;  ///< another jump that leads here
        uint64_t target = 0;
        uint16_t unexecuted = 0;
        bool plain = false;
        bool flags_in_slot = false;
    };

    // block_builder.cc
    void start(const BlockSource& source);
    void emit_body();
    void emit_end();
    void start_part(Part part);
    void end_part();
    /// A relocation of the field that ends `behind` bytes before here (see block_copy.h).
    void relocate(RelocationKind kind, size_t size, size_t behind = 0);
    /// Moves a guest address that depends on where the code is mapped.
    void emit_guest_address(HostReg to, uint64_t value);
    void load_state(HostReg to, const uint64_t& field);
    void store_state(uint64_t& field, HostReg from);
    void jump_to_trampoline(const uint8_t* target);
    void decode_run(const BlockSource& source);
    /// Whether a superblock holds what follows a conditional branch, too: one back mostly ends a loop.
    bool goes_on_behind(const GuestInstruction& instruction) const;
    void plan();
    bool flags_dead_before(size_t index) const;
    void emit_entries();
    void emit_check(const Block& block);
    void emit_check_in_window(const Block& block);
    void emit_head();
    void emit_head_stub();
    void emit_head_for_slot();
    void emit_head_with_flags();
    void emit_instruction(const GuestInstruction& instruction);
    void emit_exit(uint32_t record, bool flags_in_slot);
    void emit_cold_part(const ColdPart& part);
    void emit_side_exit(const SideExit& exit);
    void bind_from_hot(Fixup fixup);
    /// The host's flags may be changed from here on.
    void free_flags();
    /// The guest's flags are in their slot from here on.
    void put_flags_in_slot();
    /// The guest's flags are where the ways through tables have them from here on.
    void bring_flags_for_tables() { source_.mode.window ? need_flags() : put_flags_in_slot(); }
    void save_flags();
    /// The guest's flags are in the host's from here on.
    void need_flags();
    void restore_flags();
    bool flags_are_used_first() const;
    /// Before the part of an instruction that a host fault may interrupt.
    void note_operation();
    uint16_t credit() const { return static_cast<uint16_t>(block_->count - index_); }
    uint32_t add_record(ExitRecord record);
    Shelf shelf() const { return source_.transient ? Shelf::kTransient : Shelf::kTranslated; }
    void leave(ExitKind kind, uint64_t pc, uint16_t unexecuted);

    // build_memory.cc
    struct Address {
        HostReg base = kHostR14;  ///< holds the full address
        uint8_t known_alignment = 1;
        bool stack_segment = false;  ///< by SS: a non-canonical address raises #SS
        int32_t disp = 0;  ///< to be added to the base; of a member of a shared look-up, and in the window
        HostReg index = kNoReg;  ///< the same; only in the window
        uint8_t scale = 1;
    };
    /// For LEA.
    Address emit_address(const ZydisDecodedOperand& operand, bool may_stay_in_base) {
        return emit_address(operand, may_stay_in_base, Sharing::kNone);
    }
    Address emit_address(const ZydisDecodedOperand& operand, bool may_stay_in_base, Sharing sharing);
    void add_segment_base(ZydisRegister segment);
    /// Finds the page of [address, address + size): afterwards found() is the host memory.
    void emit_lookup(const Address& address, unsigned size, bool write, bool aligned_by_cpu = false);
    void emit_own_lookup(const Address& address, unsigned size, bool write, bool aligned_by_cpu);
    void emit_shared_lookup(const Address& address, unsigned size, bool write, const AccessPlan& plan);
    uint32_t add_memory_record(const Address& address, unsigned size, bool write);
    void emit_look(const Address& address, Sharing sharing);
    /// `index`: the index in a map, then the entry there. For a write r12 is used, too.
    void load_map_entry(HostReg index, bool write);
    HostMem found(const Address& address) const {
        if (source_.mode.window)
            return {
                .base = address.base, .index = address.index, .scale = address.scale, .disp = address.disp};
        return {.base = address.base, .index = kHostR13, .disp = address.disp};
    }
    /// Whether the displacement of an access by a base register stays in the instruction.
    bool keeps_displacement(Sharing sharing) const {
        return sharing == Sharing::kMember || (source_.mode.window && sharing == Sharing::kFirst);
    }
    /// How the next access is looked up.
    const AccessPlan& next_plan() const { return plans_[lookups_]; }
    HostMem engine_slot(unsigned number) const;
    void load_guest(HostReg to, uint8_t number);
    HostMem slot(uint8_t number) const;
    HostMem segment_base(cpu::Segment segment) const;

    // build_copy.cc
    void emit_copy(const GuestInstruction& instruction);
    Fields find_fields(const GuestInstruction& instruction) const;
    void assign_temporaries(Fields& fields, HostMem* target);
    void encode(const GuestInstruction& instruction, const Fields& fields, const HostMem* memory);
    void encode_prefixes(const GuestInstruction& instruction);
    void encode_vex(const GuestInstruction& instruction, const Fields& fields, uint8_t rm,
                    const HostMem* memory);
    void note_upper_halves(const GuestInstruction& instruction);
    void emit_touch_for_write(const HostMem& target, unsigned size);
    void emit_copy_high_byte(const GuestInstruction& instruction, const Fields& fields,
                             const HostMem& target);
    void emit_sized(uint8_t opcode, unsigned width, HostReg reg, const HostMem& memory);
    void emit_lea(const GuestInstruction& instruction);
    void emit_prefetch(const GuestInstruction& instruction);
    void emit_move_offset(const GuestInstruction& instruction);
    void emit_bit_string(const GuestInstruction& instruction);
    void note_stack_pointer(const GuestInstruction& instruction);

    // build_stack.cc
    void emit_push(const GuestInstruction& instruction);
    void emit_pop(const GuestInstruction& instruction);
    void emit_leave(const GuestInstruction& instruction);
    HostMem emit_push_lookup();
    void push_register(const HostMem& place, HostReg from);
    void push_constant(const HostMem& place, int32_t value);
    void pop_register(HostReg to);
    /// Whether an instruction may leave RSP to be changed later: a push or pop whose page is known.
    bool continues_stack_run(const GuestInstruction& instruction) const;
    void pay_stack();
    void push_return_address(uint64_t pc);

    // build_control.cc
    void emit_jump(const GuestInstruction& instruction);
    void emit_call(const GuestInstruction& instruction);
    void emit_call_indirect(const GuestInstruction& instruction);
    void emit_jump_indirect(const GuestInstruction& instruction);
    void emit_conditional(const GuestInstruction& instruction);
    void emit_loop(const GuestInstruction& instruction);
    void emit_return(const GuestInstruction& instruction);
    void jump_direct(uint64_t target);
    /// Lets the jump whose displacement is at `from` go to a guest address, by a chain where that is
    /// possible.
    void jump_direct(Fixup from, uint64_t target);
    void jump_by_slot(uint64_t target);
    void link(Fixup from, uint64_t target, bool plain = false);
    bool goes_by_slot(uint64_t target) const;
    /// Leaves with #GP of the branch itself, whose target isn't canonical.
    void refuse_branch();
    /// Faults unless `target` is canonical; flags stay. r14 is a temporary.
    void emit_check_target(HostReg target);
    /// `popped`: what the branch has added to RSP.
    void jump_to_r14(uint32_t popped = 0);
    /// Whether the block at `target` depends on the mapping of the source's page alone.
    bool in_same_page(uint64_t target) const;

    // build_system.cc
    /// Whether an instruction of the interpreter's is translated here.
    bool is_translated_system(const GuestInstruction& instruction) const;
    /// Whether a translated one may leave the block for the interpreter, in front of it.
    static bool has_slow_way(const GuestInstruction& instruction);
    void emit_system(const GuestInstruction& instruction);
    void emit_clear_flag(uint64_t flag);
    void emit_set_flag(uint64_t flag);
    void emit_sti();
    void emit_pushfq();
    void emit_swapgs();
    void emit_read_tsc(bool with_processor);
    /// r12 = the guest's RFLAGS, whose arithmetic part is in its slot, without RF and VM. r13 is a temporary.
    void emit_flags_image();

    // build_register_move.cc
    /// Whether a MOV of a control or segment register is translated.
    bool is_translated_move(const GuestInstruction& instruction) const;
    void emit_system_move(const GuestInstruction& instruction);
    void emit_load_selector(uint8_t segment, uint8_t from);
    void emit_base_move(const GuestInstruction& instruction);
    /// A guest register from a temporary of the host's.
    void store_guest(uint8_t number, HostReg from);
    /// Its low 16 bits.
    void store_guest_word(uint8_t number, HostReg from);

    // build_transfer.cc
    /// Whether a translated instruction ends its block: what follows runs at another privilege level.
    static bool is_transfer(const GuestInstruction& instruction);
    void emit_syscall(const GuestInstruction& instruction);
    void emit_sysret();
    void emit_flat_segment(cpu::Segment segment, const uint64_t& value);

    // build_string.cc
    void emit_string(const GuestInstruction& instruction);
    const uint8_t* emit_slow_way(ExitKind kind);
    void emit_string_range(HostReg address, HostReg entry, bool write, bool repeated, uint8_t size,
                           const uint8_t* slow);

    CodeCache& cache_;
    DirectTargets& targets_;
    const EngineOptions& options_;
    Exits exits_;
    Assembler asm_;
    BlockSource source_;
    Block* block_ = nullptr;
    std::vector<GuestInstruction> run_;  ///< the block's instructions, and the one that ends it
    size_t decoded_ = 0;                 ///< how many of run_ are valid
    size_t index_ = 0;                   ///< of the instruction being emitted
    std::vector<AccessPlan> plans_;      ///< of the block's accesses
    size_t lookups_ = 0;                 ///< emitted so far
    bool flags_dead_ = false;            ///< before it
    bool flags_in_slot_ = false;
    uint32_t mark_ = 0;           ///< of it
    bool stack_aligned_ = false;  ///< RSP is known to be a multiple of 8
    int32_t stack_owed_ = 0;      ///< what is still to be added to RSP
    const uint8_t* head_stub_ =
        nullptr;  ///< leads to the cold part for a head that finds live flags in place
    std::optional<uint8_t> group_in_r13_;  ///< whose page is there
    bool relocatable_ = false;             ///< so far
    bool upper_halves_noted_ = false;      ///< CpuState::upper_halves_used is set
    uint8_t* resume_ = nullptr;            ///< host code of the instruction's start
    Part part_ = Part::kHot;               ///< being emitted
    std::vector<ColdPart> cold_;
    std::vector<SideExit> side_exits_;
};

}  // namespace lockstep::translate
