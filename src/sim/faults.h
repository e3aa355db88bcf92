// SPDX-License-Identifier: Apache-2.0
// What goes wrong: one table of faults, from which a seed draws a sequence.
#pragma once

#include <cstdint>
#include <string_view>

#include "sim/operators.h"
#include "sim/world.h"

namespace lockstep::sim {

class Faults {
  public:
    explicit Faults(World& world);
    /// Lets things go wrong until `end`.
    void start(Micros end);
    /// Everything works again.
    void end();

  private:
    using Fault = void (Faults::*)();
    struct Row {
        std::string_view name;
        uint64_t weight;
        Fault strike;
    };
    static const Row kRows[];

    void step();
    Process* primary();
    Process* backup();
    void kill(Process* process);

    void kill_primary() { kill(primary()); }
    void kill_backup() { kill(backup()); }
    void stop_primary();
    void stop_backup();
    void cut_both_ways();
    void cut_one_way();
    void lose_datagrams();
    void break_channel();
    void slow_network();
    void very_slow_network();
    void lose_arbiter();
    void lose_arbiter_and_link();
    void slow_replay();
    void diverge();
    void hand_over();
    void dismiss();
    void no_backups();
    void power_off();
    void fail_over_and_power_off();
    void reset();
    void start_by_hand();
    void start_everywhere();
    void start_by_force();
    void start_unseen();

    World& world_;
    Random& random_;
    Micros end_ = 0;
    Micros calm_ = 0;  ///< mean time between faults
    bool ended_ = false;
    Operators operators_;
    bool forces_ = false;  ///< the operators of this run use force
};

}  // namespace lockstep::sim
