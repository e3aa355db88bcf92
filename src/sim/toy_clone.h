// SPDX-License-Identifier: Apache-2.0
// A copy of a toy machine's pages while it runs, as memory/clone.h makes one of a real guest's: rounds, a cut, and a
// copy before the first write. Mistakes that it may make are planted here.
#pragma once

#include <cstdint>
#include <deque>
#include <set>
#include <utility>

#include "pair/ports.h"
#include "sim/toy_machine.h"

namespace lockstep::sim {

class World;

class ToyClone final : private PageWatcher {
  public:
    ToyClone(World& world, ToyMachine& machine);
    ~ToyClone() override { machine_.watch(nullptr); }
    ToyClone(const ToyClone&) = delete;
    ToyClone& operator=(const ToyClone&) = delete;

    pair::Taken take(Bytes& out, size_t bytes);
    void next_round();
    void cut();

  private:
    void before_write(uint64_t page) override;
    void replaced() override { void_ = true; }
    bool another_round_pays() const;
    bool take_one(ByteWriter& out);

    World& world_;
    ToyMachine& machine_;
    std::set<uint64_t> to_send_;                       ///< in this round; after the cut: uncopied
    std::set<uint64_t> written_;                       ///< in this round
    std::deque<std::pair<uint64_t, uint64_t>> queue_;  ///< pages as they were at the cut
    size_t round_pages_ = 0;
    unsigned round_ = 1;
    bool cut_ = false, void_ = false;
};

/// Puts pages that take() gave into a machine.
void load_pages(ToyMachine& machine, ByteSpan records);

}  // namespace lockstep::sim
