// SPDX-License-Identifier: Apache-2.0
#include "translate/kernel_chains.h"

namespace lockstep::translate {

void KernelChains::add(Block& block) {
    targets_.push_back(&block);
    pages_.set(bit_of(block.pc));
    if (block.second_page) pages_.set(bit_of(block.pc + kPageSize));
}

void KernelChains::drop_page(uint64_t address) {
    if (pages_.test(bit_of(address))) drop_all();
}

void KernelChains::drop_all() {
    for (Block* block : targets_) table_.unchain(*block);
    clear();
}

void KernelChains::clear() {
    targets_.clear();
    pages_.reset();
}

}  // namespace lockstep::translate
