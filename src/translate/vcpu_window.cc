// SPDX-License-Identifier: Apache-2.0
// The window in use: which program has it, and what a fault in it is for.
//
//     a program runs long enough, in relation to its pages, with no other in between -> give_window()
//         its blocks are made anew, for the window; blocks for the map lie beside them
//     another has run for four times as long, or the first is no longer about -> the same for the other
//     too many faults, or addresses that this process has taken -> take_window()
//     all pages are watched anew (a clone's next round, its cut) -> the same: to take the right to write from each
//     of its pages is a call to the host. It gets the window again as above, once it writes to few pages that
//     it hasn't written to since.
//
// A program is known by its space and its page tables. Which one has the window can't be seen in the guest.
#include <algorithm>

#include "base/check.h"
#include "translate/vcpu_impl.h"
#include "x86/paging.h"

namespace lockstep::translate {

namespace {

/// Instructions between two looks at what runs.
constexpr uint64_t kLook = 2'000'000;
/// A fault costs 10 to 45 us, and of a look's time the window saves up to a third, some 500 us. So a program
/// may have this many faults from look to look, and some thousands at once: when it starts on new data.
constexpr int64_t kFaultsOfALook = 4, kMostFaults = 1'500;
/// Instructions that a program must have run for each mapping that it will have at once (5 to 25 us).
constexpr int64_t kForEachMapping = 160'000;
/// More aren't made ahead: the guest stands still meanwhile.
constexpr size_t kMostAhead = 2'000;
/// Accesses to addresses that this process has taken.
constexpr unsigned kMostConflicts = 100;
/// How long a program that didn't profit from the window has to wait for it.
constexpr int64_t kPenalty = 200'000'000;
/// A first write to a watched page costs a fault. Those around it, so many bytes aligned, pass for written, too.
constexpr uint64_t kWrittenTogether = 64 << 10;
/// Faults in a row of one instruction, which has few pages, before something must be wrong with the engine.
constexpr unsigned kMostRepetitions = 16;

}  // namespace

// Before user code runs, every kLook instructions.
void Vcpu::Impl::watch_programs() {
    unsigned space = cpu.mmu.space();
    uint64_t cr3 = cpu.state.cr3 & x86::kPteAddress;
    if (has_window && space == window_space && std::exchange(window_doubtful, false) && cr3 != window_cr3)
        take_window();
    if (std::exchange(watch.fruitless, false) && has_window) {
        take_window();
        watch.instructions = -kPenalty;
        return;
    }
    Icount now = cpu.state.icount;
    if (now < watch.next || !window.possible()) return;
    uint64_t look = std::min(kLook, options.window_after);
    auto passed = static_cast<int64_t>(now - watch.next + look);
    bool same = space == watch.space && cr3 == watch.cr3;
    watch.instructions = same ? watch.instructions + passed : 0;
    if (!same) watch.wanted = 0;
    int64_t misses = std::exchange(watch.misses, 0);
    watch.misses_of_a_look = same ? (3 * watch.misses_of_a_look + misses) / 4 : misses;
    watch.space = space;
    watch.cr3 = cr3;
    watch.next = now + look;
    if (in_window()) {
        watch.seen = now;
        int64_t looks = passed / static_cast<int64_t>(std::max<uint64_t>(look, 1));
        watch.faults_left = std::min(watch.faults_left + looks * kFaultsOfALook, kMostFaults);
        return;
    }
    bool in_use = has_window && now - watch.seen < 4 * options.window_after;
    uint64_t enough = in_use ? 4 * options.window_after : options.window_after;
    bool pays = watch.misses_of_a_look <= kFaultsOfALook || options.window_after == 0;
    if (watch.instructions < static_cast<int64_t>(enough) || watch.instructions < watch.wanted || !pays)
        return;
    std::vector<HostWindow::Run> runs = known_runs();
    if (runs.size() > kMostAhead) runs.resize(kMostAhead);
    watch.wanted = options.window_after ? kForEachMapping * static_cast<int64_t>(runs.size()) : 0;
    if (watch.instructions >= watch.wanted) give_window(space, runs);
}

// What the TLB holds of the program. It has used these pages of late and will use them again: one that is
// mapped ahead saves a fault. Not by run_around(), which leaves out what the window holds for another
// program.
std::vector<HostWindow::Run> Vcpu::Impl::known_runs() const {
    std::vector<HostWindow::Run> pages, runs;
    cpu.mmu.for_each_cached([&](GuestVirt page, const cpu::TlbEntry& entry) {
        if (entry.ram && entry.user && entry.accessed && !cpu.breakpoints.has_data_on_page(page.value()))
            pages.push_back({.first = page.value() / kPageSize,
                             .physical = entry.page,
                             .writable = writable_in_window(entry)});
    });
    std::sort(pages.begin(), pages.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
    for (const HostWindow::Run& page : pages) {
        if (runs.empty() || !runs.back().continued_by(page))
            runs.push_back(page);
        else
            ++runs.back().count;
    }
    return runs;
}

void Vcpu::Impl::give_window(unsigned space, const std::vector<HostWindow::Run>& known) {
    take_window();
    ++counters.windows;
    drop_ways(space);
    has_window = true;
    window_space = space;
    window_cr3 = watch.cr3;
    use_ways(ways_of(cpu.mmu.space()));
    watch.fruitless = false;
    watch.seen = cpu.state.icount;
    watch.faults_left = kMostFaults;
    watch.conflicts = 0;
    for (const HostWindow::Run& run : known)
        if (!window.open_for(GuestVirt(run.first * kPageSize)) || !window.map(run)) return;
}

void Vcpu::Impl::take_window() {
    if (!has_window) return;
    drop_ways(kWindowWays);
    window.drop_all();
    has_window = window_doubtful = false;
    use_ways(cpu.mmu.space());
}

// The program gets its window again soon: it has run long enough before.
void Vcpu::Impl::writes_watched() {
    shadow_map.forbid_all_writes();
    take_window();
    auto most = static_cast<int64_t>(options.window_after / 4 * 3);
    watch.instructions = std::min(watch.instructions, most);
    watch.wanted = 0;
}

// As far as the TLB knows that they are written to.
void Vcpu::Impl::prepare_writes_around(uint64_t at) {
    uint64_t start = at & ~(kWrittenTogether - 1);
    for (uint64_t page = start; page < start + kWrittenTogether; page += kPageSize) {
        const cpu::TlbEntry* entry = cpu.mmu.cached(GuestVirt(page));
        if (entry && entry->ram && entry->user && entry->writable && entry->dirty)
            cpu.memory.prepare_write(GuestPhys(entry->page));
    }
}

bool Vcpu::Impl::writable_in_window(const cpu::TlbEntry& entry) const {
    return entry.writable && entry.dirty && cpu.memory.directly_writable(GuestPhys(entry.page));
}

// The page that `entry` maps `at` to, with its neighbours as far as the TLB holds them and the host can map
// them in the same stroke.
HostWindow::Run Vcpu::Impl::run_around(uint64_t at, const cpu::TlbEntry& entry) const {
    bool writable = writable_in_window(entry);
    auto joins = [&](uint64_t page) {
        const cpu::TlbEntry* other = cpu.mmu.cached(GuestVirt(page));
        uint64_t physical = entry.page + (page - at);
        return !cpu.breakpoints.has_data_on_page(page) && other && other->present && other->ram &&
               other->user && other->accessed && other->page == physical &&
               writable_in_window(*other) == writable && !window.holds(page / kPageSize, physical, writable);
    };
    uint64_t start = at, end = at + kPageSize;
    while (start % HostWindow::kLongestRun != 0 && joins(start - kPageSize)) start -= kPageSize;
    while (end % HostWindow::kLongestRun != 0 && joins(end)) end += kPageSize;
    return {.first = start / kPageSize,
            .count = (end - start) / kPageSize,
            .physical = entry.page - (at - start),
            .writable = writable};
}

// A page fault mostly ends with the kernel's return to the instruction, which would fault on the host a
// second time. Its accesses are a part of it, so what begins here must not be stopped before its end.
std::optional<Vcpu::Impl::Next> Vcpu::Impl::retry_accesses() {
    watch.page_fault_pc = kNoRetry;
    cpu::Exception exception;
    BlockSource source;
    CHECK(fetch(source, exception));
    if (make_sure_of_accesses(slow_instruction(source), exception) != WindowFault::kException)
        return std::nullopt;
    return deliver_precise(exception, source.physical);
}

Vcpu::Impl::WindowFault Vcpu::Impl::window_fault(const GuestInstruction& instruction,
                                                 cpu::Exception& exception) {
    ++counters.window_faults;
    const EngineState::Fault& fault = cache.state().fault;
    watch.repetitions =
        fault.host_pc == watch.fault_pc && cpu.state.icount == watch.fault_icount ? watch.repetitions + 1 : 0;
    watch.fault_pc = fault.host_pc;
    watch.fault_icount = cpu.state.icount;
    CHECK(watch.repetitions < kMostRepetitions, "the access of guest {:#x} to {:#x} faults for ever",
          cpu.state.rip, fault.address);
    if (window.in_table(fault.address)) {
        if (window.open_region_of(fault.address)) return WindowFault::kMapped;
        watch.fruitless |= ++watch.conflicts == kMostConflicts;
        return WindowFault::kNotForWindow;
    }
    watch.fruitless |= --watch.faults_left == 0;
    WindowFault result = make_sure_of_accesses(instruction, exception);
    bool page_fault = result == WindowFault::kException && exception.vector == cpu::kPf;
    if (page_fault) watch.page_fault_pc = cpu.state.rip;
    return result;
}

// All accesses of the instruction, in their order, as a block for the map makes sure of them.
Vcpu::Impl::WindowFault Vcpu::Impl::make_sure_of_accesses(const GuestInstruction& instruction,
                                                          cpu::Exception& exception) {
    AccessList list = accesses_of(cpu.state, instruction);
    for (size_t i = 0; i < list.count; ++i) {
        const MemoryAccess& access = list.items[i];
        uint64_t last = access.address + access.size - 1;
        bool user_half = !(access.address >> 47) && !(last >> 47);
        if (!user_half || misaligned_for(instruction, access)) return WindowFault::kNotForWindow;
        auto kind = access.write ? cpu::Access::kWrite : cpu::Access::kRead;
        for (uint64_t page = access.address & ~kPageMask; page <= last; page += kPageSize) {
            auto reached = cpu.mmu.translate(GuestVirt(std::max(page, access.address)), kind, user());
            if (auto* raised = std::get_if<cpu::Exception>(&reached)) {
                exception = *raised;
                return WindowFault::kException;
            }
            const cpu::TlbEntry& entry = *std::get<const cpu::TlbEntry*>(reached);
            if (access.write && cpu.memory.is_watched()) prepare_writes_around(page);
            bool writes_marked = access.write && !cpu.memory.directly_writable(GuestPhys(entry.page));
            if (!entry.ram || writes_marked || cpu.breakpoints.has_data_on_page(page) ||
                !window.map(run_around(page, entry)))
                return WindowFault::kNotForWindow;
        }
    }
    return WindowFault::kMapped;
}

}  // namespace lockstep::translate
