// SPDX-License-Identifier: Apache-2.0
// Finding, making and forgetting blocks.
#include <algorithm>
#include <utility>

#include "base/check.h"
#include "translate/block_copy.h"
#include "translate/code_pieces.h"
#include "translate/hint_encodings.h"
#include "translate/vcpu_impl.h"

namespace lockstep::translate {

Block* Vcpu::Impl::find_block(cpu::Exception& exception) {
    uint64_t pc = cpu.state.rip;
    auto reached = cpu.mmu.translate(GuestVirt(pc), cpu::Access::kExecute, user());
    if (auto* fault = std::get_if<cpu::Exception>(&reached)) {
        exception = *fault;
        return nullptr;
    }
    uint64_t physical = std::get<const cpu::TlbEntry*>(reached)->page | (pc & kPageMask);
    BlockKey key{physical, pc, present_mode()};
    key.mode.plain = wants_plain();
    Block* block = table.find(key);
    if (block && !block->second_page) return block;
    if (block) {  // its last bytes are on a page of their own, which may be another one now
        auto second =
            cpu.mmu.translate(GuestVirt((pc & ~kPageMask) + kPageSize), cpu::Access::kExecute, user());
        if (auto* fault = std::get_if<cpu::Exception>(&second)) {
            exception = *fault;
            return nullptr;
        }
        if (std::get<const cpu::TlbEntry*>(second)->page == block->second_page) return block;
    }
    if (Block* copy = copy_variant(key)) return copy;
    BlockSource source;
    source.limit = options.block_limit;
    source.checked = arrival.way == Arrival::Way::kJump;
    if (!fetch(source, exception)) return nullptr;
    source.mode.plain = key.mode.plain;
    return translate(source);
}

Block* Vcpu::Impl::copy_variant(const BlockKey& key) {
    const Block* variant = options.copied_blocks ? table.find_variant(key) : nullptr;
    if (variant && !has_room(Shelf::kCopied)) {
        forget_copies();
        if (!has_room(Shelf::kCopied)) return nullptr;  // translated code has all slots of direct targets
    }
    if (!variant) return nullptr;
    Block* block = copy_alone(*variant, key.pc);
    if (options.copied_chains) copy_chains(*block, *variant);
    return block;
}

Block* Vcpu::Impl::copy_alone(const Block& variant, uint64_t pc) {
    Block& block = copy_block(cache, targets, variant, pc);
    table.insert(block);
    ++counters.blocks_copied;
    return &block;
}

// Where the original was chained its copy is, too: what has run there will run here. Chains of user code stay
// in their page, so this comes to an end there.
void Vcpu::Impl::copy_chains(Block& first, const Block& variant) {
    copies_to_chain.assign(1, {&first, &variant});
    while (!copies_to_chain.empty()) {
        auto [copy, original] = copies_to_chain.back();
        copies_to_chain.pop_back();
        for (uint32_t i = 0; i < copy->record_count; ++i) {
            const ExitRecord& chained = cache.record(original->first_record + i);
            if (chained.kind != ExitKind::kLink || !BlockTable::is_chained(chained)) continue;
            uint32_t index = copy->first_record + i;
            uint64_t pc = cache.record(index).pc;
            BlockKey key{copy->physical.value() - copy->pc + pc, pc, copy->mode};
            key.mode.plain = chained.plain;
            Block* next = table.find(key);
            if (!next) {
                const Block* to_copy = has_room(Shelf::kCopied) ? table.find_variant(key) : nullptr;
                if (!to_copy) continue;
                next = copy_alone(*to_copy, pc);
                copies_to_chain.push_back({next, to_copy});
            }
            table.chain(index, *next);
        }
    }
}

bool Vcpu::Impl::fetch(BlockSource& source, cpu::Exception& exception) {
    uint64_t pc = cpu.state.code_address();
    auto reached = cpu.mmu.translate(GuestVirt(pc), cpu::Access::kExecute, user());
    if (auto* fault = std::get_if<cpu::Exception>(&reached)) {
        exception = *fault;
        return false;
    }
    GuestPhys page(std::get<const cpu::TlbEntry*>(reached)->page);
    if (!cpu.memory.is_ram(page, kPageSize)) {  // code in a device: nothing that a guest does
        exception = {.vector = cpu::kGp, .has_error_code = true};
        return false;
    }
    uint64_t offset = pc & kPageMask;
    source.pc = cpu.state.rip;
    source.width = cpu.state.code_width();
    source.physical = page + offset;
    source.mode = present_mode();
    source.by_space = source.mode.user || apart;
    source.bytes = {cpu.memory.host(page) + offset, kPageSize - offset};
    GuestInstruction first;
    if (source.bytes.size() >= kLongestInstruction || decode(source.bytes, pc, first, source.width))
        return true;

    // The first instruction runs over the page's end: its tail is fetched from wherever the next page is.
    uint64_t next = (pc & ~kPageMask) + kPageSize;
    auto second = cpu.mmu.translate(GuestVirt(next), cpu::Access::kExecute, user());
    if (auto* fault = std::get_if<cpu::Exception>(&second)) {
        exception = *fault;
        return false;
    }
    GuestPhys tail(std::get<const cpu::TlbEntry*>(second)->page);
    if (!cpu.memory.is_ram(tail, kPageSize)) {
        exception = {.vector = cpu::kGp, .has_error_code = true};
        return false;
    }
    size_t here = source.bytes.size();
    std::copy(source.bytes.begin(), source.bytes.end(), crossing.begin());
    std::copy_n(cpu.memory.host(tail), kLongestInstruction, crossing.begin() + static_cast<int64_t>(here));
    source.bytes = {crossing.data(), here + kLongestInstruction};
    source.second_page = tail.value();
    source.limit = 1;
    return true;
}

bool Vcpu::Impl::has_room(Shelf shelf) const {
    constexpr size_t kMostTargets = 2 * 128;  // of a block
    return cache.has_room(shelf) && targets.has_room(kMostTargets);
}

Block* Vcpu::Impl::translate(const BlockSource& source) {
    if (cache.has_room(Shelf::kTranslated) && !has_room(Shelf::kTranslated)) forget_copies();
    if (!has_room(Shelf::kTranslated)) clear_code();
    Block& block = builder.build(source);
    table.insert(block);
    ++counters.blocks_translated;
    counters.instructions_translated += block.count;
    return &block;
}

Block* Vcpu::Impl::transient_block(unsigned limit_instructions, std::span<const uint64_t> deltas,
                                   cpu::Exception& exception, Head head) {
    BlockSource source;
    if (!fetch(source, exception)) return nullptr;
    source.limit = limit_instructions;
    source.transient = true;
    source.head = head;
    source.deltas = deltas;
    return &builder.build(source);
}

bool Vcpu::Impl::wants_plain() {
    return arrival.way == Arrival::Way::kPlain ||
           (arrival.way == Arrival::Way::kChain && cache.record(arrival.record).plain);
}

void Vcpu::Impl::remember_arrival(Block& block) {
    Arrival by = std::exchange(arrival, {});
    if (by.way == Arrival::Way::kChain) chain(by.record, block);
    if (by.way == Arrival::Way::kJump) remember_jump(block);
    if (by.way == Arrival::Way::kDirect) remember_direct(block);
}

// Only where the chain stays right (kernel_chains.h).
void Vcpu::Impl::chain(uint32_t record, Block& block) {
    const Block& source = *cache.record(record).block;
    if (!source.alive) return;
    if (source.mode.vectors != block.mode.vectors || source.mode.window != block.mode.window) return;
    bool same_page = (source.physical.value() ^ block.physical.value()) < kPageSize &&
                     (source.pc ^ block.pc) < kPageSize && !source.second_page && !block.second_page;
    if (!same_page) {
        if (source.mode.user || block.mode.user || !(block.pc >> 63) || apart) return;
        kernel_chains.add(block);
    }
    table.chain(record, block);
}

void Vcpu::Impl::remember_jump(Block& block) {
    bool upper = block.pc >> 63;
    if (!options.jump_cache || upper == block.mode.user || !builder.add_checked_entry(block)) return;
    jumps().insert(block.pc, block.checked_entry);
    remember_block(block);
}

void Vcpu::Impl::remember_direct(const Block& block) {
    targets.fill(present_ways(), block);
    remember_block(block);
}

// In the index, which the trampolines ask where a jump cache or a slot is empty.
void Vcpu::Impl::remember_block(const Block& block) {
    if (!options.jump_index || block.second_page) return;
    uint64_t key = JumpIndex::key_of(block);
    jumps().note_page(block.pc, key, JumpIndex::start_of(key));
    jump_index.insert(block);
}

void Vcpu::Impl::forget_block(Block& block) {
    jump_index.forget(block);
    targets.forget(block);
    for (JumpCache& jumps : jump_caches) jumps.forget(block.pc, block.checked_entry);
}

// What was translated stays, with the chains among it. All ways through tables are found anew.
void Vcpu::Impl::forget_copies() {
    ++counters.copies_forgotten;
    if (code_visitor) visit_blocks(cache, Shelf::kCopied, code_visitor);
    for (unsigned ways = 0; ways < kKernelWays; ++ways) jump_caches[ways].clear();
    jump_index.clear();
    targets.forget_copies();
    table.forget_copies();
    cache.clear(Shelf::kCopied);
    if (arrival.way == Arrival::Way::kChain) arrival = {};  // perhaps of a copy
}

void Vcpu::Impl::clear_code() {
    ++counters.code_clears;
    table.clear();
    kernel_chains.clear();
    for (Shelf shelf : {Shelf::kCopied, Shelf::kTranslated}) {
        if (code_visitor) visit_blocks(cache, shelf, code_visitor);
        cache.clear(shelf);
    }
    for (JumpCache& jumps : jump_caches) jumps.clear();
    jump_index.clear();
    targets.clear();
    arrival = {};
    uint32_t indirect = cache.add_record({.kind = ExitKind::kIndirect}, Shelf::kTranslated);
    uint32_t fault = cache.add_record({.kind = ExitKind::kHostFault}, Shelf::kTranslated);
    uint32_t direct = cache.add_record({.kind = ExitKind::kDirect}, Shelf::kTranslated);
    CHECK(indirect == kIndirectRecord && fault == kHostFaultRecord && direct == kDirectRecord);
}

bool Vcpu::Impl::fetch_is_cached(uint64_t pc) const {
    const cpu::TlbEntry* entry = cpu.mmu.cached(GuestVirt(pc));
    return entry && entry->fetched && entry->executable && (entry->user || !user());
}

}  // namespace lockstep::translate
