// SPDX-License-Identifier: Apache-2.0
// People who start the VM by hand, on any host, at moments of their own choice; some of them by force.
#pragma once

#include <cstdint>
#include <vector>

#include "replica/starter.h"

namespace lockstep::sim {

class Process;
class World;

class Operators {
  public:
    explicit Operators(World& world) : world_(world) {}

    /// Whether whoever starts the VM reaches the other hosts.
    enum class Sight : uint8_t { kSeesOthers, kNone };
    /// `lockstep run` on a host. Refused at once where the VM has a process there, or where another host says that
    /// it runs the VM.
    void start(unsigned host, replica::Caution caution, Sight sight = Sight::kSeesOthers);
    /// From now on the VM is started on all hosts at the same moment whenever it runs nowhere. One of them must
    /// become the owner.
    void keep_running();
    /// A start is under way.
    bool busy() const;

  private:
    void disturb(uint64_t process);

    World& world_;
    std::vector<uint64_t> started_;  ///< processes
    bool tried_both_ = false;
};

}  // namespace lockstep::sim
