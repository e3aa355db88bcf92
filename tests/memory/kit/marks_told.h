// SPDX-License-Identifier: Apache-2.0
// Write down what guest memory tells them.
#pragma once

#include <algorithm>
#include <vector>

#include "memory/guest_memory.h"

namespace lockstep::memory {

/// Does what the owner of translated code does: a written page has none any more.
struct MarksTold final : MarkListener {
    explicit MarksTold(GuestMemory& of) : memory(of) { memory.set_mark_listener(this); }
    ~MarksTold() override { memory.set_mark_listener(nullptr); }
    void code_written(GuestPhys page) override {
        code_pages.push_back(page);
        memory.set_code(page, false);
    }
    void writes_watched() override { ++watches; }

    GuestMemory& memory;
    std::vector<GuestPhys> code_pages;
    unsigned watches = 0;
};

/// Watches memory as long as it lives.
struct WritesWatched final : WriteWatcher {
    explicit WritesWatched(GuestMemory& of) : memory(of) { memory.watch_writes(*this); }
    ~WritesWatched() override { memory.unwatch_writes(*this); }
    void first_write(GuestPhys page) override {
        pages.push_back(page);
        contents.push_back(memory.read_number<uint64_t>(page));
    }
    void memory_replaced() override { ++replaced; }

    GuestMemory& memory;
    std::vector<GuestPhys> pages;
    std::vector<uint64_t> contents;  ///< of each, when it was told
    unsigned replaced = 0;
};

}  // namespace lockstep::memory
