// SPDX-License-Identifier: Apache-2.0
// Entering translated code, and the exits that concern memory and faults.
#include <algorithm>
#include <bit>
#include <cstring>

#include "base/check.h"
#include "base/log.h"
#include "cpu/alignment.h"
#include "cpu/segments.h"
#include "cpu/virtual_memory.h"
#include "translate/vcpu_impl.h"
#include "x86/control.h"
#include "x86/paging.h"

namespace lockstep::translate {

namespace {

/// RFLAGS <-> what LAHF and SETO give.
uint64_t to_engine_flags(uint64_t rflags) { return (rflags & 0xd5) << 8 | (rflags >> 11 & 1); }
uint64_t from_engine_flags(uint64_t rflags, uint64_t engine) {
    return (rflags & ~cpu::kArithmeticFlags) | (engine >> 8 & 0xd5) | (engine & 1) << 11;
}

/// As SYSCALL and its relatives load CS and SS, without the base.
uint64_t flat_start(uint64_t selector, uint16_t attributes, unsigned level) {
    auto number = static_cast<uint16_t>((selector & 0xfffc) | level);
    cpu::SegmentRegister segment = cpu::flat_segment(number, attributes, level);
    uint64_t start;
    static_assert(offsetof(cpu::SegmentRegister, base) == sizeof start);
    std::memcpy(&start, &segment, sizeof start);
    return start;
}

/// The number of the general register that `reg` is the low part of.
unsigned enclosing_number(ZydisRegister reg) {
    return static_cast<unsigned>(
        ZydisRegisterGetId(ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, reg)));
}

bool is_high_byte(ZydisRegister reg) { return reg >= ZYDIS_REGISTER_AH && reg <= ZYDIS_REGISTER_BH; }

/// What alignment checks want of an operand: its size, but 8 for the x87's 80 bits, and no more than 16.
unsigned checked_alignment(unsigned size) { return size == 10 ? 8 : std::min(size, 16u); }

}  // namespace

void Vcpu::Impl::enter(const Block& block, Head head) {
    EngineState& engine = cache.state();
    engine.counter = -(limit - cpu.state.icount) - 1;
    if (head == Head::kStops) return run_host(block.entry);
    engine.counter += block.count;  // what the head does
    run_host(block.entry + cache.marks(block)->host_offset);
}

void Vcpu::Impl::run_host(const uint8_t* target) {
    EngineState& engine = cache.state();
    engine.target = reinterpret_cast<uint64_t>(target);
    engine.flags = to_engine_flags(cpu.state.rflags);
    engine.flags_slot = engine.flags;  // for entries of either kind
    enter_host();
}

void Vcpu::Impl::resume_host() {
    EngineState& engine = cache.state();
    engine.target = engine.fault.host_pc;
    engine.entry_r12 = engine.fault.r12;
    engine.entry_r13 = engine.fault.r13;
    engine.entry_address = engine.exit_address;
    enter_host();
}

void Vcpu::Impl::enter_host() {
    EngineState& engine = cache.state();
    if (in_window()) window.apply_drops();
    engine.read_base = in_window() ? window.table_base() : shadow_map.read_base(user());
    engine.interrupt_waits = cpu.platform.interrupt_pending();
    prepare_transfers();
    TimeLine tsc = cpu.platform.tsc_line();
    engine.tsc_base = tsc.base;
    engine.tsc_rate = tsc.rate;
    engine.tsc_distance = limit - tsc.start + 1;
    // A stop request from here on finds the counter in place, in memory or in its register.
    asm volatile("" ::: "memory");
    // Read once: a signal between the look and the change adds to it, too, and twice would be no stop but another
    // icount.
    uint64_t counter = *static_cast<volatile uint64_t*>(&engine.counter);
    if (faults.stop_requested() && static_cast<int64_t>(counter) < 0) engine.counter = counter + kStopBias;
    asm volatile("" ::: "memory");
    trampolines.enter(&cpu.state);
    asm volatile("" ::: "memory");
    cpu.state.rflags = from_engine_flags(cpu.state.rflags, engine.flags);
}

// User code is entered without the dispatcher only where that one would have nothing to do before. What follows from the
// MSRs alone is made anew when they have changed, by WRMSR or with the whole state.
void Vcpu::Impl::prepare_transfers() {
    EngineState::Transfers& transfers = cache.state().transfers;
    const cpu::CpuState& state = cpu.state;
    bool enabled = state.efer & x86::kEferSce;
    bool windowed = has_window && cpu.mmu.space() == window_space;
    bool idle = shadow_map.may_enter_user() && !watch.fruitless &&
                !(windowed && (window_doubtful || window.has_drops()));
    const uint8_t* into_user = windowed ? trampolines.exits.into_window : trampolines.exits.into_user;
    transfers.into_kernel = enabled && x86::is_canonical(state.lstar);
    transfers.into_user = enabled && idle ? reinterpret_cast<uint64_t>(into_user) : 0;
    transfers.kernel_base = shadow_map.read_base(false);
    transfers.user_base = windowed ? window.table_base() : shadow_map.read_base(true);
    SyscallRegisters now{state.star, state.sfmask};
    if (transfers_made_of == now) return;
    transfers_made_of = now;
    uint64_t kernel = now.star >> 32, user = now.star >> 48;
    transfers.kernel_code = flat_start(kernel, x86::kFlatCode64, 0);
    transfers.kernel_stack = flat_start(kernel + 8, x86::kFlatData, 0);
    transfers.user_code = flat_start(user + 16, x86::kFlatCode64, 3);
    transfers.user_stack = flat_start(user + 8, x86::kFlatData, 3);
    transfers.kept_flags = ~(now.sfmask | cpu::kFlagRf) | 2;
    transfers.kept_slot = to_engine_flags(transfers.kept_flags);
}

// Read once: the signal of a request that was heard otherwise may come here and add to it in memory.
uint64_t Vcpu::Impl::counter_at_exit() {
    uint64_t& place = cache.state().counter;
    uint64_t counter = *static_cast<volatile uint64_t*>(&place);
    if (static_cast<int64_t>(counter) > static_cast<int64_t>(kStopBias / 2)) counter -= kStopBias;
    place = counter;
    return counter;
}

// Empty: the page is in the shadow map now, the instruction can go on.
std::optional<Vcpu::Impl::Next> Vcpu::Impl::memory_exit(const ExitRecord& record) {
    ++counters.memory_misses;
    uint64_t address = cache.state().exit_address;
    bool crosses = (address & kPageMask) + record.size > kPageSize;
    bool misaligned = record.requires_alignment && address % record.size;
    bool other_half = user() && address >> 63;
    if (crosses) return slow_step(SlowCause::kAcrossPages);
    if (misaligned || other_half)
        return slow_step(misaligned ? SlowCause::kMisaligned : SlowCause::kOtherHalf);
    watch.misses += user();

    auto access = record.write ? cpu::Access::kWrite : cpu::Access::kRead;
    uint64_t drops_before = drops;
    auto reached = cpu.mmu.translate(GuestVirt(address), access, user());
    if (auto* fault = std::get_if<cpu::Exception>(&reached)) {
        if (fault->vector == cpu::kGp && record.stack) fault->vector = cpu::kSs_;
        return deliver_precise(*fault, record.block->physical + (record.pc - record.block->pc));
    }
    const cpu::TlbEntry& entry = *std::get<const cpu::TlbEntry*>(reached);
    GuestPhys page(entry.page);
    if (!cpu.memory.is_ram(page, kPageSize)) return slow_step(SlowCause::kDevice);
    if (cpu.breakpoints.has_data_on_page(address)) return slow_step(SlowCause::kBreakpoint);
    bool allowed = !record.write || (entry.writable && cpu.memory.prepare_write(page));
    shadow_map.fill(GuestVirt(address), entry);
    if (!allowed) return slow_step(SlowCause::kMarkedPage);
    if (drops != drops_before && record.block->shares_lookups)
        return finish_instruction(record);  // perhaps a group's page has gone
    return std::nullopt;
}

// By itself, with look-ups of its own. Its access has walked the page tables, which is a part of it.
Vcpu::Impl::Next Vcpu::Impl::finish_instruction(const ExitRecord& record) {
    GuestPhys at = record.block->physical + (record.pc - record.block->pc);
    BlockSource source;
    source.pc = record.pc;
    source.physical = at;
    source.bytes = {cpu.memory.host(at), kPageSize - (at.value() & kPageMask)};
    source.mode = {.user = user(), .vectors = vectors};
    source.transient = true;
    source.head = Head::kNoStop;
    enter(builder.build(source));
    return after_exit();
}

// The checks of an access that come before any effect, and its bytes in the bounce buffer.
std::optional<cpu::Exception> Vcpu::Impl::prepare_slow_access(const MemoryAccess& access, uint8_t* place) {
    cpu::Exception exception;
    uint64_t last = access.address + access.size - 1;
    if (!x86::is_canonical(access.address) || !x86::is_canonical(last))
        return cpu::Exception{.vector = access.stack ? cpu::kSs_ : cpu::kGp, .has_error_code = true};
    if (access.address % checked_alignment(access.size) && cpu::checks_alignment(cpu.state))
        return cpu::kAlignmentCheck;
    bool all_ram = true;
    if (access.write) {  // before the read: a page fault says that it was a write
        uint64_t second = (last ^ access.address) < kPageSize ? last : last & ~kPageMask;
        for (uint64_t at : {access.address, second}) {
            auto reached = cpu.mmu.translate(GuestVirt(at), cpu::Access::kWrite, user());
            if (auto* fault = std::get_if<cpu::Exception>(&reached)) return *fault;
            GuestPhys page(std::get<const cpu::TlbEntry*>(reached)->page);
            all_ram = all_ram && cpu.memory.is_ram(page, kPageSize);
        }
    }
    // What an instruction leaves unwritten must stay as it was; a device is not read without need.
    std::memset(place, 0, access.size);
    if ((access.read || all_ram) && !cpu::read_virtual(cpu, access.address, place, access.size, exception))
        return exception;
    return std::nullopt;
}

// Slow accesses come again and again from few instructions.
const GuestInstruction& Vcpu::Impl::slow_instruction(const BlockSource& source) {
    SlowInstruction& known = slow_instructions[source.pc % slow_instructions.size()];
    GuestInstruction& instruction = known.instruction;
    bool whole = instruction.length > 0 && instruction.kind < Kind::kUndefined;
    bool same = whole && instruction.pc == source.pc && instruction.width == source.width &&
                source.bytes.size() >= instruction.length &&
                std::memcmp(known.bytes.data(), source.bytes.data(), instruction.length) == 0;
    if (!same) {
        CHECK(decode(source.bytes, source.pc, instruction, source.width));
        std::copy_n(source.bytes.begin(), instruction.length, known.bytes.begin());
    }
    instruction.bytes = source.bytes.data();
    return instruction;
}

// MOV between memory and a general register or a constant: how drivers reach their devices. Empty: it's
// something else.
std::optional<Vcpu::Impl::Next> Vcpu::Impl::move_slowly(const BlockSource& source,
                                                        const GuestInstruction& instruction,
                                                        const MemoryAccess& access) {
    const ZydisDecodedOperand* operands = instruction.operands;
    const ZydisDecodedOperand& other = operands[access.write ? 1 : 0];
    bool constant = other.type == ZYDIS_OPERAND_TYPE_IMMEDIATE;
    if (instruction.decoded.mnemonic != ZYDIS_MNEMONIC_MOV || instruction.kind != Kind::kCopy)
        return std::nullopt;
    if (!constant && is_high_byte(other.reg.value)) return std::nullopt;

    cpu::Exception exception;
    uint64_t value = 0;
    if (access.write) value = constant ? other.imm.value.u : cpu.state.gpr[enclosing_number(other.reg.value)];
    bool done = access.write ? cpu::write_virtual(cpu, access.address, &value, access.size, exception)
                             : cpu::read_virtual(cpu, access.address, &value, access.size, exception);
    if (!done) {
        if (exception.vector == cpu::kGp && access.stack) exception.vector = cpu::kSs_;
        return deliver_precise(exception, source.physical);
    }
    if (!access.write) cpu::write_register(cpu.state, enclosing_number(other.reg.value), access.size, value);
    cpu.state.rip = instruction.next_pc();
    ++cpu.state.icount;
    return Next::kContinue;
}

// Where an indirect CALL leads; `operand`: what lies there, if that is in memory.
uint64_t Vcpu::Impl::call_target(const GuestInstruction& instruction, const uint8_t* operand) const {
    const ZydisDecodedOperand& target = instruction.operands[0];
    if (target.type == ZYDIS_OPERAND_TYPE_REGISTER)
        return cpu.state.gpr[static_cast<size_t>(ZydisRegisterGetId(target.reg.value))];
    uint64_t value;
    std::memcpy(&value, operand, sizeof value);
    return value;
}

// Executes the one instruction at state.rip with its memory in the bounce buffer: for accesses that cross
// pages, reach devices, or write to code. Its block finds all of its accesses in the buffer, so it can't come
// back here; if it did, it would for ever.
Vcpu::Impl::Next Vcpu::Impl::slow_step(SlowCause cause) {
    departures.count(cause);
    ++counters.slow_accesses;
    cpu::Exception exception;
    BlockSource source;
    if (!fetch(source, exception)) return deliver(exception);
    const GuestInstruction& instruction = slow_instruction(source);
    CHECK(!in_slow_block, "the slow step at {:#x} needs a slow step (address {:#x}): {:02x}", cpu.state.rip,
          cache.state().exit_address, fmt::join(source.bytes.first(instruction.length), " "));
    AccessList list = accesses_of(cpu.state, instruction);
    for (const MemoryAccess& access : list)
        if (auto refused = refused_by_segment(instruction, access);
            refused && !misaligned_for(instruction, access))
            return deliver_precise(*refused, source.physical);
    if (list.count == 1)
        if (auto next = move_slowly(source, instruction, list.items[0])) return *next;

    EngineState& engine = cache.state();
    std::array<uint64_t, 2> deltas{};
    std::array<uint8_t*, 2> places{};
    for (size_t i = 0; i < list.count; ++i) {
        const MemoryAccess& access = list.items[i];
        if (misaligned_for(instruction, access))
            return deliver_precise({.vector = cpu::kGp, .has_error_code = true}, source.physical);
        places[i] = engine.bounce + i * 128 + (access.address & 63);
        deltas[i] = reinterpret_cast<uint64_t>(places[i]) - access.reckoned;
        if (auto fault = prepare_slow_access(access, places[i]))
            return deliver_precise(*fault, source.physical);
    }
    if (instruction.kind == Kind::kCallIndirect && !x86::is_canonical(call_target(instruction, places[0])))
        return deliver_precise({.vector = cpu::kGp, .has_error_code = true}, source.physical);
    source.limit = 1;
    source.transient = true;
    source.head = Head::kNoStop;
    source.mode.window = false;
    source.deltas = {deltas.data(), list.count};
    source.first = &instruction;
    const Block& block = builder.build(source);
    CHECK(block.count == 1, "a slow access at {:#x} that isn't one", cpu.state.rip);
    Icount before = cpu.state.icount;
    in_slow_block = true;
    enter(block);
    Next next = after_exit();
    in_slow_block = false;
    if (cpu.state.icount != before + 1 || engine.exit_record == kHostFaultRecord) return next;  // it faulted
    Icount after = std::exchange(cpu.state.icount, before);
    for (size_t i = 0; i < list.count; ++i) {
        const MemoryAccess& access = list.items[i];
        if (access.write) CHECK(cpu::write_virtual(cpu, access.address, places[i], access.size, exception));
    }
    cpu.state.icount = after;
    return next;
}

// One instruction that goes_alone(). What blocks do in their own way (CLI, PUSHFQ, strings) the interpreter does, the
// rest goes the slow way whether it has accesses or not.
Vcpu::Impl::Next Vcpu::Impl::lone_step() {
    cpu::Exception exception;
    BlockSource source;
    CHECK(fetch(source, exception));
    bool special = slow_instruction(source).kind == Kind::kInterpret;
    return special ? interpret(false) : slow_step(SlowCause::kAlone);
}

std::optional<Vcpu::Impl::Next> Vcpu::Impl::host_fault_exit() {
    EngineState& engine = cache.state();
    auto* host = reinterpret_cast<const uint8_t*>(engine.fault.host_pc);
    Block* block = cache.block_at(host);
    CHECK(block, "a host fault (vector {}) outside all blocks, at {}", engine.fault.trap, fmt::ptr(host));
    const InstructionMark* marks = cache.marks(*block);
    uint32_t offset = static_cast<uint32_t>(host - block->entry);
    const InstructionMark* after =
        std::upper_bound(marks, marks + block->count, offset,
                         [](uint32_t at, const InstructionMark& mark) { return at < mark.host_offset; });
    CHECK(after != marks, "a host fault in the head of the block at {:#x}", block->pc);
    size_t executed = static_cast<size_t>(after - 1 - marks);
    cpu.state.rip = block->pc + after[-1].guest_offset;
    cpu.state.icount = limit + counter_at_exit() + 1 - (block->count - executed);
    uint64_t host_rflags = cpu.state.rflags;
    if (after[-1].flags_in_slot) cpu.state.rflags = from_engine_flags(cpu.state.rflags, engine.flags_slot);

    cpu::Exception exception;
    BlockSource source;
    CHECK(fetch(source, exception));
    const GuestInstruction& instruction = slow_instruction(source);
    if (block->mode.window && engine.fault.trap == cpu::kPf) {
        switch (window_fault(instruction, exception)) {
            case WindowFault::kMapped:
                cpu.state.rflags = host_rflags;
                return std::nullopt;
            case WindowFault::kException:
                return deliver_precise(exception, source.physical);
            case WindowFault::kNotForWindow:
                return slow_step(SlowCause::kNotForWindow);
        }
    }
    // A pending x87 exception comes before the look at the page, which a block for the map has had by then.
    if (block->mode.window && engine.fault.trap == cpu::kMf) return slow_step(SlowCause::kHostFault);
    // Some CPUs refuse a misaligned operand (SHA) before they look for its page.
    if (block->mode.window && engine.fault.trap == cpu::kGp &&
        make_sure_of_accesses(instruction, exception) == WindowFault::kException)
        return deliver_precise(exception, source.physical);
    if (auto raised = guest_exception(instruction, block->mode.window))
        return deliver_precise(*raised, source.physical);
    return slow_step(SlowCause::kHostFault);
}

// What a host fault means in the guest; empty: an address that only the slow path can judge.
std::optional<cpu::Exception> Vcpu::Impl::guest_exception(const GuestInstruction& instruction,
                                                          bool in_window_block) {
    const EngineState::Fault& fault = cache.state().fault;
    if (fault.trap == cpu::kDe || fault.trap == cpu::kUd || fault.trap == cpu::kMf || fault.trap == cpu::kXm)
        return cpu::Exception{.vector = static_cast<uint8_t>(fault.trap)};
    if (instruction.kind == Kind::kCallIndirect) return std::nullopt;  // perhaps its target isn't canonical
    AccessList list = accesses_of(cpu.state, instruction);
    for (size_t i = 0; i < list.count; ++i) {
        const MemoryAccess& access = list.items[i];
        if (misaligned_for(instruction, access))
            return cpu::Exception{.vector = cpu::kGp, .has_error_code = true};
        if (!x86::is_canonical(access.address) || !x86::is_canonical(access.address + access.size - 1))
            return cpu::Exception{.vector = access.stack ? cpu::kSs_ : cpu::kGp, .has_error_code = true};
        if (access.address >> 63 && user()) return std::nullopt;  // before what comes behind it
    }
    // A register that was looked at need not be an address itself.
    if (in_window_block && fault.trap == cpu::kGp) return std::nullopt;
    if (instruction.decoded.meta.isa_ext == ZYDIS_ISA_EXT_SHA)  // misaligned, where the host's CPU minds
        return cpu::Exception{.vector = cpu::kGp, .has_error_code = true};
    if (instruction.decoded.mnemonic == ZYDIS_MNEMONIC_LDMXCSR ||
        instruction.decoded.mnemonic == ZYDIS_MNEMONIC_VLDMXCSR)  // reserved bits
        return cpu::Exception{.vector = cpu::kGp, .has_error_code = true};
    NOT_REACHED("host exception {} (address {:#x}) at guest {:#x}, host {:#x}: a fault of the translator",
                fault.trap, fault.address, cpu.state.rip, fault.host_pc);
}

}  // namespace lockstep::translate
