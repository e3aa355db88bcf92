// SPDX-License-Identifier: Apache-2.0
#include "translate/vcpu.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "cpu/exceptions.h"
#include "cpu/float_state.h"
#include "translate/code_pieces.h"
#include "translate/hint_encodings.h"
#include "translate/vcpu_impl.h"
#include "x86/control.h"
#include "x86/paging.h"

namespace lockstep::translate {

namespace {

/// FXSAVE image: where the x87 part ends and XMM registers begin.
constexpr size_t kX87Bytes = 160;
/// Host code for each slot of a direct target: less than there is in any program.
constexpr uint64_t kCodeBytesOfATarget = 512;
/// A kernel that keeps pages of the upper half from other address spaces all the time, as one that hides
/// itself from programs does, has done so this often soon.
constexpr unsigned kOwnHalvesGone = 64;

EngineOptions with_possible_limit(EngineOptions options) {
    options.block_limit = std::clamp(options.block_limit, 1u, 120u);
    return options;
}

Trampolines::Avx avx_of(x86::CpuModel model) {
    return x86::xcr0_of(model) & x86::kXcr0Avx ? Trampolines::Avx::kOffered : Trampolines::Avx::kHidden;
}

template <size_t... Ways>
std::array<JumpCache, sizeof...(Ways)> make_jump_caches(const Exits& exits, std::index_sequence<Ways...>) {
    return {JumpCache(Ways == kWindowWays   ? exits.window_jump_miss
                      : Ways >= kKernelWays ? exits.kernel_jump_miss
                                            : exits.user_jump_miss)...};
}

}  // namespace

Vcpu::Impl::Impl(cpu::Cpu& the_cpu, const EngineOptions& engine_options)
    : cpu(the_cpu),
      given_options(with_possible_limit(engine_options)),
      options(given_options),
      shadow_map(the_cpu.memory),
      window(the_cpu.memory),
      cache(engine_options.code_cache_bytes),
      trampolines(Trampolines::write(cache, avx_of(the_cpu.model))),
      faults(cache, trampolines),
      targets(cache.size() / kCodeBytesOfATarget, {.user = trampolines.exits.direct_miss,
                                                   .window = trampolines.exits.window_direct_miss,
                                                   .kernel = trampolines.exits.kernel_direct_miss}),
      builder(cache, targets, options, trampolines.exits),
      table(
          cache, the_cpu.memory, [this](GuestPhys page) { forbid_writes(page); },
          [this](Block& block) { forget_block(block); }),
      kernel_chains(table),
      jump_caches(make_jump_caches(trampolines.exits, std::make_index_sequence<kWays>())) {
    clear_code();
    cpu.mmu.set_listener(this);
    cpu.memory.set_mark_listener(this);
    space_entered(cpu.mmu.space());
    cache.state().jump_index = jump_index.table();
    cache.state().target_addresses = targets.addresses();
}

Vcpu::Impl::~Impl() {
    if (code_visitor)
        for (Shelf shelf : kLastingShelves) visit_blocks(cache, shelf, code_visitor);
    cpu.mmu.set_listener(nullptr);
    table.clear();
    cpu.memory.set_mark_listener(nullptr);
}

VcpuExit Vcpu::Impl::run(Icount until) {
    shadow_map.give_piece_back();
    faults.enter_thread();
    load_fpu();
    cpu.state.engine_slots[kWriteMapSlot] = shadow_map.write_base();  // the state may have been replaced
    std::optional<VcpuExit> reason;
    while (!(reason = reason_to_leave(until)))
        if (step() == Next::kLeave) {
            reason = leave_reason;
            break;
        }
    save_fpu();
    asm volatile("fninit; ldmxcsr %0" ::"m"(*std::array<uint32_t, 1>{0x1f80}.data()));
    faults.leave_thread();
    return *reason;
}

// Every state that run() may stop at has an icount of its own: exceptions and interrupts count as one, too.
// So an entry of the log that names an icount names one state.
std::optional<VcpuExit> Vcpu::Impl::reason_to_leave(Icount until) {
    if (faults.stop_requested()) {
        faults.take_stop();
        return VcpuExit::kRequested;
    }
    if (cpu.platform.leave_requested()) return VcpuExit::kPlatform;
    Icount now = cpu.state.icount;
    Icount end = std::min(until, cpu.platform.next_event());
    if (now >= end) return VcpuExit::kReached;
    limit = std::min(end, now + glance);
    bool takes_interrupt = (cpu.state.rflags & cpu::kFlagIf) && cpu.platform.interrupt_pending();
    if (cpu.state.halted && !takes_interrupt) return VcpuExit::kHalted;
    return std::nullopt;
}

Vcpu::Impl::Next Vcpu::Impl::step() {
    cpu::CpuState& state = cpu.state;
    if ((state.rflags & cpu::kFlagIf) && !state.interrupt_shadow && cpu.platform.interrupt_pending()) {
        ++counters.interrupts;
        ++state.icount;
        arrival = {};
        if (cpu::deliver_interrupt(cpu, cpu.platform.acknowledge_interrupt())) return Next::kContinue;
        leave_reason = VcpuExit::kTripleFault;
        return Next::kLeave;
    }
    if (cpu.breakpoints.version() != breakpoints_seen) guard_breakpoints();
    if (held_by_stop()) return leave_for_stop();
    Next next = state.rflags & cpu::kFlagTf ? single_step() : dispatch(state.interrupt_shadow ? 1 : 0);
    if (next == Next::kContinue && cpu.breakpoints.met()) next = deliver_debug(cpu.breakpoints.take_met());
    return next == Next::kContinue && cpu.breakpoints.stop_met() ? leave_for_stop() : next;
}

// With TF set a trap follows the instruction (Intel SDM vol. 3, 17.3.1.4), unless that has raised an
// exception or has entered a handler itself: INT, or SYSCALL where it has cleared TF. MOV SS holds it off.
Vcpu::Impl::Next Vcpu::Impl::single_step() {
    cpu::CpuState& state = cpu.state;
    uint64_t handlers = cpu.handlers_entered;
    unsigned privilege = state.cpl();
    Icount before = state.icount;
    Next next = dispatch(1);
    bool completed = next == Next::kContinue && state.icount != before && cpu.handlers_entered == handlers;
    bool by_syscall = state.cpl() < privilege && !(state.rflags & cpu::kFlagTf);
    if (!completed || by_syscall || state.interrupt_shadow == cpu::kShadowOfMovSs) return next;
    return deliver_debug(x86::kDr6Bs | cpu.breakpoints.take_met());
}

// Runs the block at state.rip; `single`: one instruction.
Vcpu::Impl::Next Vcpu::Impl::dispatch(uint64_t single) {
    ++counters.dispatches;
    set_mode();
    if (!cpu.state.code64()) return segmented_step();
    if (cpu.breakpoints.has_code_on_page(cpu.state.rip)) return guarded_step();
    bool alone = goes_alone();
    bool resumes = cpu.state.rflags & cpu::kFlagRf;
    if (alone || resumes) single = 1;
    bool direct = !single && arrival.way == Arrival::Way::kNothing && !retries();
    if (direct && enter_by_jump_cache()) return after_exit();
    cpu::Exception exception;
    bool reached = fetch_is_cached(cpu.state.rip);
    bool next_reached = fetch_is_cached((cpu.state.rip | kPageMask) + 1);
    Block* block = find_block(exception);
    if (!block) return deliver(exception);
    remember_arrival(*block);
    cpu.state.rflags &= ~cpu::kFlagRf;
    if (block->interpret_only) return without_block(block->first_exit);
    // A fetch that walks the page tables changes them and the TLB. It belongs to the instruction, so no stop
    // may come in between.
    bool walked = !reached || (block->second_page && !next_reached);
    Head head = walked ? Head::kNoStop : Head::kStops;
    if (single) limit = cpu.state.icount + 1;  // nor may a block of one instruction go on by its chain
    uint64_t budget = limit - cpu.state.icount;
    if (budget < block->count && !alone) {
        block = transient_block(static_cast<unsigned>(budget), {}, exception, head);
        CHECK(block, "the block at {:#x} was there a moment ago", cpu.state.rip);
        head = Head::kStops;  // has been made like that
    }
    // A stop request may make the block leave at its head: then the shadow is still to come.
    Icount before = cpu.state.icount;
    uint8_t shadow = std::exchange(cpu.state.interrupt_shadow, 0);
    if (retries() && budget >= block->count && !single) {
        if (auto next = retry_accesses()) return *next;
        head = Head::kNoStop;
    }
    Next next = Next::kContinue;
    if (alone) {
        next = lone_step();
    } else {
        enter(*block, head);
        next = after_exit();
    }
    if (cpu.state.icount == before) {
        cpu.state.interrupt_shadow = shadow;
        if (resumes) cpu.state.rflags |= cpu::kFlagRf;
    }
    return next;
}

// The way on after an interpreted instruction or an interrupt: like an indirect branch to state.rip. Where
// the jump cache doesn't know it, the block that is found for it is remembered there.
bool Vcpu::Impl::enter_by_jump_cache() {
    uint64_t pc = cpu.state.rip;
    bool other_half = pc >> 63 == (user() ? 1 : 0);
    if (!options.jump_cache || !cpu.state.code64() || other_half || !x86::is_canonical(pc)) return false;
    const uint8_t* entry = jumps().find(pc);
    if (entry == jumps().miss()) entry = jump_index.find(pc, jumps().key_of_page(pc));
    if (!entry) {
        arrival = {Arrival::Way::kJump};
        return false;
    }
    EngineState& engine = cache.state();
    engine.counter = -(limit - cpu.state.icount) - 1;
    engine.entry_address = pc;
    run_host(entry);
    return true;
}

void Vcpu::Impl::set_mode() {
    if (!apart && own_halves_gone > kOwnHalvesGone) part_upper_halves();
    if (Vectors now = vectors_of(cpu.state);
        now != vectors) {  // jump caches and chains know nothing of this mode
        vectors = now;
        for (unsigned ways = 0; ways < kWays; ++ways) drop_ways(ways);
    }
    if (!user()) return;
    shadow_map.enter_user();
    bool doubtful = window_doubtful && cpu.mmu.space() == window_space;
    if (options.window && (doubtful || watch.fruitless || cpu.state.icount >= watch.next)) watch_programs();
}

void Vcpu::Impl::forbid_writes(GuestPhys page) {
    shadow_map.forbid_writes(page);
    window.forbid_writes(page);
}

Vcpu::Impl::Next Vcpu::Impl::after_exit() {
    EngineState& engine = cache.state();
    while (true) {
        uint32_t index = static_cast<uint32_t>(engine.exit_record);
        ExitRecord record = cache.record(index);
        departures.count(record.kind);
        if (record.kind == ExitKind::kHostFault) {
            if (auto next = host_fault_exit()) return *next;
            resume_host();
            continue;
        }
        cpu.state.icount = limit + counter_at_exit() + 1 - record.credit;
        bool by_table = record.kind == ExitKind::kIndirect || record.kind == ExitKind::kDirect;
        cpu.state.rip = by_table ? engine.exit_address : record.pc;
        if (record.kind == ExitKind::kIndirect && !x86::is_canonical(cpu.state.rip)) return refuse_branch();
        if (record.kind != ExitKind::kMemory) return after_exit(record, index);
        if (auto next = memory_exit(record)) return *next;
        run_host(record.host);
    }
}

Vcpu::Impl::Next Vcpu::Impl::after_exit(const ExitRecord& record, uint32_t index) {
    switch (record.kind) {
        case ExitKind::kLink:
            arrival = {record.plain ? Arrival::Way::kPlain : Arrival::Way::kNothing};
            if (record.chainable && record.block->alive) arrival = {Arrival::Way::kChain, index};
            return Next::kContinue;
        case ExitKind::kIndirect:
            arrival = {Arrival::Way::kJump};
            return Next::kContinue;
        case ExitKind::kDirect:
            arrival = {Arrival::Way::kDirect};
            return Next::kContinue;
        case ExitKind::kBudget:
            arrival = {Arrival::Way::kShortBudget};
            return Next::kContinue;
        default:
            arrival = {};
            break;
    }
    if (cpu.state.icount >= limit) return Next::kContinue;
    return without_block(record.kind);
}

// An indirect branch has led to an address that isn't canonical: it hasn't been executed (build_control.cc).
Vcpu::Impl::Next Vcpu::Impl::refuse_branch() {
    const ExitRecord& branch = cache.record(static_cast<uint32_t>(cpu.state.engine_slots[kBranchSlot]));
    cpu.state.rip = branch.pc;
    cpu.state.gpr[cpu::kRsp] -= branch.popped;
    cpu.state.icount = cpu.state.icount - 1;
    return deliver({.vector = cpu::kGp, .has_error_code = true});
}

// An instruction that blocks don't hold.
Vcpu::Impl::Next Vcpu::Impl::without_block(ExitKind kind) {
    switch (kind) {
        case ExitKind::kInterpret:
            return interpret(false);
        case ExitKind::kInterpretFpu:
            return interpret(true);
        case ExitKind::kInterpretString:
            return interpret_string();
        case ExitKind::kFpuUnavailable:
            return deliver({.vector = cpu.state.cr0 & x86::kCr0Em ? cpu::kUd : cpu::kNm});
        case ExitKind::kAvxUnavailable:
            return deliver({.vector = cpu.state.avx_enabled() ? cpu::kNm : cpu::kUd});
        case ExitKind::kUndefined:
            return deliver({.vector = cpu::kUd});
        case ExitKind::kTooLong:
        case ExitKind::kRefusedBranch:
            return deliver({.vector = cpu::kGp, .has_error_code = true});
        default:
            NOT_REACHED("exit kind {}", static_cast<int>(kind));
    }
}

Vcpu::Impl::Next Vcpu::Impl::interpret(bool fpu) {
    ++counters.interpreted;
    if (fpu) save_fpu();
    cpu::Exception exception;
    cpu::StepResult result = cpu::interpret(cpu, exception);
    if (fpu) load_fpu();
    switch (result) {
        case cpu::StepResult::kDone:
        case cpu::StepResult::kHalt:
            return Next::kContinue;
        case cpu::StepResult::kFault:
            return deliver(exception);
        case cpu::StepResult::kUnsupported:
            return deliver({.vector = cpu::kUd});
        case cpu::StepResult::kTripleFault:
            break;
    }
    leave_reason = VcpuExit::kTripleFault;
    return Next::kLeave;
}

Vcpu::Impl::Next Vcpu::Impl::interpret_string() {
    uint64_t source = cpu.state.gpr[cpu::kRsi], destination = cpu.state.gpr[cpu::kRdi];
    Next next = interpret(false);
    for (uint64_t address : {source, destination}) {
        const cpu::TlbEntry* entry = cpu.mmu.cached(GuestVirt(address));
        bool known = entry && entry->ram && entry->accessed && (entry->user || !user());
        if (known && !cpu.breakpoints.has_data_on_page(address)) shadow_map.fill(GuestVirt(address), *entry);
    }
    return next;
}

Vcpu::Impl::Next Vcpu::Impl::deliver(const cpu::Exception& exception) {
    ++counters.exceptions;
    ++cpu.state.icount;
    arrival = {};
    cpu.breakpoints.take_met();  // of an instruction that has faulted
    if (cpu::deliver_exception(cpu, exception)) return Next::kContinue;
    leave_reason = VcpuExit::kTripleFault;
    return Next::kLeave;
}

Vcpu::Impl::Next Vcpu::Impl::deliver_debug(uint64_t causes) {
    return deliver(cpu::debug_exception(cpu.state, causes));
}

// An exception in the midst of a block. `code`: where the instruction lies, which the TLB may have dropped if
// the fault was on the same page.
Vcpu::Impl::Next Vcpu::Impl::deliver_precise(const cpu::Exception& exception, GuestPhys code) {
    bool of_an_access = exception.vector >= cpu::kSs_;
    return deliver(of_an_access && x87_exception_waits(code) ? cpu::Exception{.vector = cpu::kMf}
                                                             : exception);
}

// A pending x87 exception comes before an instruction's own. The host's CPU does it so, but an operand's page
// is looked for first. The guest's x87 registers are the host's.
bool Vcpu::Impl::x87_exception_waits(GuestPhys code) const {
    constexpr uint16_t kErrorSummary = 0x80;
    uint16_t status;
    asm volatile("fnstsw %0" : "=a"(status));
    if (!(status & kErrorSummary) || vectors == Vectors::kNone) return false;
    InstructionBytes bytes{};
    size_t size = std::min<size_t>(bytes.size(), kPageSize - (code.value() & kPageMask));
    std::copy_n(cpu.memory.host(code), size, bytes.begin());
    if (size < bytes.size())
        if (auto next = cpu.mmu.peek_fetch(GuestVirt(cpu.state.code_address() + size), user());
            next && cpu.memory.is_ram(*next, bytes.size()))
            std::copy_n(cpu.memory.host(*next), bytes.size() - size,
                        bytes.begin() + static_cast<int64_t>(size));
    GuestInstruction instruction;
    return decode(bytes, cpu.state.rip, instruction, cpu.state.code_width()) && instruction.waits_for_x87();
}

// The upper halves of the YMM registers wait in their image for the next entry.
void Vcpu::Impl::load_fpu() {
    asm volatile("fxrstor64 %0" ::"m"(cpu.state.fx));
    cpu.state.upper_halves_used = !cpu::is_clear(cpu.state.upper_halves);
}

// XMM registers are in the image since the last exit.
void Vcpu::Impl::save_fpu() {
    cpu::FxState now;
    asm volatile("fxsave64 %0" : "=m"(now));
    auto& image = cpu.state.fx.bytes;
    std::copy_n(now.bytes.begin(), kX87Bytes, image.begin());
    cpu::normalise_fx(cpu.state.fx);
}

void Vcpu::Impl::code_written(GuestPhys page) {
    ++counters.code_pages_forgotten;
    table.forget_page(page);
}

// Ways lead to pages that have been fetched from, and to no others.
void Vcpu::Impl::page_dropped(unsigned space, GuestVirt page, cpu::PageUse use) {
    ++drops;
    uint64_t address = page.value() & ~kPageMask;
    bool upper_half = address >> 63;
    if (upper_half && !shows_upper_half(space)) return;
    shadow_map.drop_page(space, page);
    if (has_window && space == window_space) window.drop_page(page);
    if (use == cpu::PageUse::kData) return;
    if (upper_half) {
        kernel_chains.drop_page(address);
        auto [first, last] = kernel_ways_to(space);
        for (unsigned ways = first; ways <= last; ++ways) drop_ways_to(ways, address);
    } else {
        drop_ways_to(ways_of(space), address);
    }
}

void Vcpu::Impl::drop_ways_to(unsigned ways, uint64_t page) {
    if (jump_caches[ways].may_have(page) || targets.may_lead_to(ways, page)) targets.drop_page(ways, page);
    jump_caches[ways].drop_page(page);
}

void Vcpu::Impl::space_dropped(unsigned space) {
    ++drops;
    shadow_map.drop_space(space);
    drop_ways(ways_of(space));
    if (!has_window || space != window_space) return;
    window.drop_all();
    window_doubtful = true;
}

void Vcpu::Impl::drop_ways(unsigned ways) {
    jump_caches[ways].clear();
    targets.drop_ways(ways);
}

void Vcpu::Impl::use_ways(unsigned ways) {
    EngineState& state = cache.state();
    state.user_jumps = jump_caches[ways].table();
    state.user_pages = jump_caches[ways].pages();
    state.user_targets = targets.table(ways);
    state.target_journal = targets.journal(ways);
}

void Vcpu::Impl::use_kernel_ways(unsigned ways) {
    EngineState& state = cache.state();
    state.kernel_jumps = jump_caches[ways].table();
    state.kernel_pages = jump_caches[ways].pages();
    state.kernel_targets = targets.table(ways);
    state.kernel_journal = targets.journal(ways);
}

void Vcpu::Impl::upper_half_dropped(unsigned space) {
    ++drops;
    if (!shows_upper_half(space)) return;
    if (space != cpu::kEverySpace && !apart) ++own_halves_gone;
    drop_upper_half(space);
}

void Vcpu::Impl::drop_upper_half(unsigned space) {
    kernel_chains.drop_all();
    shadow_map.drop_upper_half(space);
    auto [first, last] = kernel_ways_to(space);
    for (unsigned ways = first; ways <= last; ++ways) drop_ways(ways);
}

// Most kernels map themselves by global pages, alike everywhere: one map of the upper half, one jump cache,
// and chains. For those that don't, all of that is kept for each space by itself; kernel code is translated
// anew, to go by slots where it went by chains.
void Vcpu::Impl::part_upper_halves() {
    drop_upper_half(cpu::kEverySpace);
    apart = true;
    shadow_map.part_upper_halves();
    clear_code();
    space_entered(cpu.mmu.space());
}

void Vcpu::Impl::join_upper_halves() {
    apart = false;
    own_halves_gone = 0;
    shadow_map.join_upper_halves();
}

// Until upper halves are kept apart, what a space has for itself mustn't be seen in another.
void Vcpu::Impl::hide_upper_half(unsigned space) {
    auto drop = [&](GuestVirt page, cpu::PageUse use) { page_dropped(space, page, use); };
    if (!cpu.mmu.has_own_upper_half(space) || cpu.mmu.for_each_own_if_few(space, drop)) return;
    ++own_halves_gone;
    drop_upper_half(space);
}

void Vcpu::Impl::space_entered(unsigned space) {
    if (!apart && entered_space != space) hide_upper_half(entered_space);
    entered_space = space;
    shadow_map.enter_space(space);
    use_ways(ways_of(space));
    use_kernel_ways(kernel_ways_of(space));
    cpu.state.engine_slots[kWriteMapSlot] = shadow_map.write_base();
}

void Vcpu::Impl::clear_everything() {
    clear_code();
    take_window();
    watch = {};
    for (unsigned space = 0; space < cpu::kSpaces; ++space) space_dropped(space);
    drop_upper_half(cpu::kEverySpace);
    join_upper_halves();
    space_entered(cpu.mmu.space());
    cpu.breakpoints.load(cpu.state);
    breakpoints_seen = cpu.breakpoints.version();  // nothing is known of their pages
}

/// The maps of the upper half lie in files, so the parent would see the child's entries.
void Vcpu::after_fork() { impl_->shadow_map.leave_shared_halves(); }

Vcpu::Vcpu(cpu::Cpu& cpu, const EngineOptions& options) : impl_(std::make_unique<Impl>(cpu, options)) {}
Vcpu::~Vcpu() = default;
VcpuExit Vcpu::run(Icount until) { return impl_->run(until); }
void Vcpu::request_stop(StopUrgency urgency) { impl_->faults.request_stop(urgency); }
void Vcpu::set_glance(uint64_t instructions) {
    impl_->glance = std::clamp<uint64_t>(instructions, 1, kLongestRun);
}
Icount Vcpu::icount() const { return impl_->cpu.state.icount; }
void Vcpu::set_optimisations(Optimisations wanted) {
    const EngineOptions& given = impl_->given_options;
    impl_->options = wanted == Optimisations::kNone ? without_optimisations(given) : given;
    impl_->clear_everything();
}
void Vcpu::state_replaced() { impl_->clear_everything(); }

EngineReport Vcpu::report() const {
    return {impl_->counters, impl_->cache.use_of(Part::kHot), impl_->cache.use_of(Part::kCold)};
}

std::vector<Departure> Vcpu::departures() const { return impl_->departures.list(impl_->cpu.interpreted); }

bool Vcpu::take_memory_ahead() {
    return impl_->table.take_memory_ahead() || impl_->targets.take_memory_ahead() ||
           impl_->cache.take_memory_ahead();
}

void Vcpu::give_memory_back() {
    impl_->clear_code();
    impl_->shadow_map.give_all_back();
    impl_->table.give_memory_back();
    impl_->targets.give_memory_back();
    impl_->cache.give_memory_back();
}

void Vcpu::set_code_visitor(CodeVisitor visitor) {
    impl_->code_visitor = std::move(visitor);
    if (impl_->code_visitor) visit_fixed_code(impl_->cache, impl_->code_visitor);
}

}  // namespace lockstep::translate
