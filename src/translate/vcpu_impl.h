// SPDX-License-Identifier: Apache-2.0
// The dispatcher: what happens between two runs of translated code. Private to vcpu*.cc.
//
//            +------------------------------------------------------------------+
//            v                                                                  |
//     run(): limit, stop, halt, interrupt? -> find or translate the block -> enter -> exit record
//                                                                               |
//          kMemory           fill the shadow map and resume, or a fault, or slow_step()
//          kLink             chain, next block
//          kIndirect         fill the jump cache, next block
//          kDirect           fill the slot of the target, next block
//          kBudget           a transient block of the exact rest
//          kInterpret*       cpu::interpret()
//          kHostFault        map the page into the window and resume, or deliver the exception
#pragma once

#include <array>
#include <utility>

#include "cpu/alignment.h"
#include "cpu/cpu.h"
#include "translate/accesses.h"
#include "translate/arrival.h"
#include "translate/block_builder.h"
#include "translate/block_table.h"
#include "translate/code_cache.h"
#include "translate/departures.h"
#include "translate/direct_targets.h"
#include "translate/host_faults.h"
#include "translate/host_window.h"
#include "translate/jump_cache.h"
#include "translate/jump_index.h"
#include "translate/kernel_chains.h"
#include "translate/shadow_map.h"
#include "translate/trampolines.h"
#include "translate/vcpu.h"

namespace lockstep::translate {

/// Bounds the counter.
inline constexpr uint64_t kLongestRun = uint64_t{1} << 40;

struct Vcpu::Impl : cpu::TlbListener, memory::MarkListener {
    Impl(cpu::Cpu& the_cpu, const EngineOptions& engine_options);
    ~Impl() override;

    VcpuExit run(Icount until);
    void clear_everything();

    // TlbListener
    void page_dropped(unsigned space, GuestVirt page, cpu::PageUse use) override;
    void space_dropped(unsigned space) override;
    void upper_half_dropped(unsigned space) override;
    void space_entered(unsigned space) override;

    // memory::MarkListener
    void code_written(GuestPhys page) override;
    void writes_watched() override;  // vcpu_window.cc

    // vcpu.cc
    enum class Next : uint8_t { kContinue, kLeave };
    std::optional<VcpuExit> reason_to_leave(Icount until);
    Next step();
    Next single_step();
    Next dispatch(uint64_t single);
    Next after_exit();
    Next after_exit(const ExitRecord& record, uint32_t index);
    Next without_block(ExitKind kind);
    Next refuse_branch();
    Next interpret(bool fpu);
    /// Afterwards the maps know its pages.
    Next interpret_string();
    Next deliver(const cpu::Exception& exception);
    /// #DB with the causes as DR6 has them.
    Next deliver_debug(uint64_t causes);
    Next deliver_precise(const cpu::Exception& exception, GuestPhys code);
    bool x87_exception_waits(GuestPhys code) const;
    void load_fpu();
    void save_fpu();
    bool user() const { return cpu.state.cpl() == 3; }
    /// Blocks know nothing of alignment checks, and of privilege levels 0 and 3 alone. Where it is otherwise each
    /// instruction goes by itself, and not by its block.
    bool goes_alone() const {
        return cpu::checks_alignment(cpu.state) || cpu.state.cpl() == 1 || cpu.state.cpl() == 2;
    }
    void set_mode();
    /// Of what is translated now.
    Mode present_mode() const { return {.user = user(), .vectors = vectors, .window = in_window()}; }
    void forbid_writes(GuestPhys page);
    /// Which tables of ways to user code are in use for a space.
    unsigned ways_of(unsigned space) const {
        return has_window && space == window_space ? kWindowWays : space;
    }
    /// The same for kernel code.
    unsigned kernel_ways_of(unsigned space) const { return kKernelWays + (apart ? space : 0); }
    /// The first and the last that lead to pages of the upper half of `space`, or of cpu::kEverySpace.
    std::pair<unsigned, unsigned> kernel_ways_to(unsigned space) const {
        if (apart && space == cpu::kEverySpace) return {kKernelWays, kWays - 1};
        return {kernel_ways_of(space), kernel_ways_of(space)};
    }
    void drop_ways(unsigned ways);
    void drop_ways_to(unsigned ways, uint64_t page);
    /// Translated code uses these from now on.
    void use_ways(unsigned ways);
    bool enter_by_jump_cache();
    void use_kernel_ways(unsigned ways);
    /// What translated code of the present privilege uses in the present space.
    unsigned present_ways() const {
        unsigned space = cpu.mmu.space();
        return user() ? ways_of(space) : kernel_ways_of(space);
    }
    JumpCache& jumps() { return jump_caches[present_ways()]; }
    /// What is known of the upper half is kept for each space by itself from now on, or for all together.
    void part_upper_halves();
    void join_upper_halves();
    void drop_upper_half(unsigned space);
    void hide_upper_half(unsigned space);
    /// Whether the maps and ways may hold what a space has of the upper half for itself.
    bool shows_upper_half(unsigned space) const {
        return apart || space == cpu::kEverySpace || space == entered_space;
    }

    // vcpu_blocks.cc
    /// The block at state.rip; null: `exception` is to be delivered.
    Block* find_block(cpu::Exception& exception);
    Block* translate(const BlockSource& source);
    /// A copy of a block for the same code at another address; null where there is none.
    Block* copy_variant(const BlockKey& key);
    Block* copy_alone(const Block& variant, uint64_t pc);
    void copy_chains(Block& first, const Block& variant);
    /// A block that isn't kept: `limit` instructions at state.rip.
    Block* transient_block(unsigned limit, std::span<const uint64_t> deltas, cpu::Exception& exception,
                           Head head);
    /// The bytes at state.rip up to the page's end, or of the one instruction that crosses it.
    bool fetch(BlockSource& source, cpu::Exception& exception);
    /// Whether the block at state.rip is to be one without shared look-ups.
    bool wants_plain();
    /// `block` is the one at state.rip: the next arrival of the kind finds it by itself.
    void remember_arrival(Block& block);
    void chain(uint32_t record, Block& block);
    void remember_jump(Block& block);
    void remember_direct(const Block& block);
    void remember_block(const Block& block);
    void forget_copies();
    void clear_code();
    void forget_block(Block& block);
    bool has_room(Shelf shelf) const;
    bool fetch_is_cached(uint64_t pc) const;

    // vcpu_exits.cc
    /// Runs a block. Head::kNoStop: from behind its head, so that its first instruction is executed whatever
    /// happens; the budget must be enough for all of it.
    void enter(const Block& block, Head head = Head::kStops);
    void run_host(const uint8_t* target);
    /// Goes on at the host instruction that has faulted, with everything as it was.
    void resume_host();
    void enter_host();
    /// What translated code may do by itself when the privilege level changes.
    void prepare_transfers();
    /// The counter as translated code has left it, without what a stop request has added.
    uint64_t counter_at_exit();
    /// The rest of the way of an instruction that has begun: it mustn't be stopped before its end.
    Next finish_instruction(const ExitRecord& record);
    std::optional<Next> memory_exit(const ExitRecord& record);
    /// Empty: what the fault was for is done, the instruction can go on.
    std::optional<Next> host_fault_exit();
    Next slow_step(SlowCause cause);
    Next lone_step();
    std::optional<Next> move_slowly(const BlockSource& source, const GuestInstruction& instruction,
                                    const MemoryAccess& access);
    const GuestInstruction& slow_instruction(const BlockSource& source);
    uint64_t call_target(const GuestInstruction& instruction, const uint8_t* operand) const;
    std::optional<cpu::Exception> prepare_slow_access(const MemoryAccess& access, uint8_t* place);
    std::optional<cpu::Exception> guest_exception(const GuestInstruction& instruction, bool in_window_block);

    // vcpu_segments.cc
    /// One instruction of 16- or 32-bit code, with the checks of its segments.
    Next segmented_step();
    Next clear_narrow_registers(const GuestInstruction& instruction);
    Next execute_segmented(const GuestInstruction& instruction);
    /// What the segment of an access says to it.
    std::optional<cpu::Exception> refused_by_segment(const GuestInstruction& instruction,
                                                     const MemoryAccess& access) const;

    // vcpu_breakpoints.cc
    void guard_breakpoints();
    /// A debugger wants to see the state before the instruction at state.rip.
    bool held_by_stop();
    Next leave_for_stop();
    /// One instruction of a page with an instruction breakpoint.
    Next guarded_step();

    // vcpu_window.cc
    /// Whether code of the present mode and space runs in the window.
    bool in_window() const { return user() && has_window && cpu.mmu.space() == window_space; }
    void watch_programs();
    std::vector<HostWindow::Run> known_runs() const;
    void give_window(unsigned space, const std::vector<HostWindow::Run>& known);
    void take_window();
    void prepare_writes_around(uint64_t at);
    bool writable_in_window(const cpu::TlbEntry& entry) const;
    HostWindow::Run run_around(uint64_t at, const cpu::TlbEntry& entry) const;
    enum class WindowFault : uint8_t { kMapped, kException, kNotForWindow };
    WindowFault window_fault(const GuestInstruction& instruction, cpu::Exception& exception);
    WindowFault make_sure_of_accesses(const GuestInstruction& instruction, cpu::Exception& exception);
    /// Whether the instruction at state.rip is about to be tried again after a page fault in the window.
    bool retries() const { return cpu.state.rip == watch.page_fault_pc && in_window(); }
    /// Maps what it needs; its block is to be run without a stop then. Not empty: it has faulted once more.
    std::optional<Next> retry_accesses();

    cpu::Cpu& cpu;
    const EngineOptions given_options;
    EngineOptions options;  ///< in force; see set_optimisations()
    ShadowMap shadow_map;
    HostWindow window;
    CodeCache cache;
    Trampolines trampolines;
    HostFaults faults;
    DirectTargets targets;
    BlockBuilder builder;
    BlockTable table;
    KernelChains kernel_chains;
    std::array<JumpCache, kWays> jump_caches;
    JumpIndex jump_index;
    VcpuCounters counters;
    DepartureCounts departures;
    CodeVisitor code_visitor;

    Icount limit;                   ///< of this entry
    uint64_t glance = kLongestRun;  ///< instructions between two looks for a stop request
    VcpuExit leave_reason{};        ///< with Next::kLeave
    uint64_t breakpoints_seen = 0;  ///< which version of them is guarded
    Arrival arrival;                ///< how state.rip was reached
    uint64_t drops = 0;             ///< what the TLB has dropped so far: pages, spaces
    Vectors vectors = Vectors::kSse;
    bool in_slow_block = false;    ///< the block of a slow step runs
    bool apart = false;            ///< see part_upper_halves()
    unsigned own_halves_gone = 0;  ///< how often that of one space was dropped, while it isn't
    unsigned entered_space = 0;    ///< by space_entered()
    bool has_window = false;       ///< the lower half of a space is seen through the window:
    unsigned window_space = 0;     ///< that one,
    uint64_t window_cr3 = 0;       ///< with these page tables
    bool window_doubtful = false;  ///< the space was dropped: perhaps it is another program's now
    static constexpr uint64_t kNoRetry = ~uint64_t{0};  // no address of user code
    /// What is known of the programs that run; see watch_programs().
    struct Watch {
        Icount next;
        unsigned space = 0;
        uint64_t cr3 = 0;
        int64_t instructions = 0;  ///< that it has run for; less than none: it must wait
        int64_t wanted = 0;        ///< that it must run for, by the pages that it had when that was reckoned
        int64_t misses = 0;        ///< of the maps, in user mode, since the last look
        int64_t misses_of_a_look = 0;  ///< on the average, of late
        Icount seen;                   ///< when the window was last in use
        int64_t faults_left = 0;
        unsigned conflicts = 0;
        bool fruitless = false;             ///< more faults or conflicts than the window is worth
        uint64_t page_fault_pc = kNoRetry;  ///< of the guest's last page fault in the window
        uint64_t fault_pc = 0;              ///< of the last fault in the window
        Icount fault_icount;
        unsigned repetitions = 0;
    } watch;
    /// An instruction that took the slow path, and its bytes then.
    struct SlowInstruction {
        GuestInstruction instruction;
        std::array<uint8_t, 15> bytes{};
    };
    /// The MSRs of which EngineState::transfers is made; empty: it hasn't been made yet.
    struct SyscallRegisters {
        uint64_t star, sfmask;
        bool operator==(const SyscallRegisters&) const = default;
    };
    std::optional<SyscallRegisters> transfers_made_of;
    struct CopyOf {
        Block* copy;
        const Block* variant;
    };
    std::vector<CopyOf> copies_to_chain;                ///< in copy_chains()
    std::array<SlowInstruction, 64> slow_instructions;  ///< by the address's low bits
    std::array<uint8_t, 32> crossing{};                 ///< bytes of an instruction that crosses pages
};

}  // namespace lockstep::translate
