// SPDX-License-Identifier: Apache-2.0
// People who start the VM by hand, on either host, at moments of their own choice; some of them by force.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "replica/starter.h"
#include "sim/process.h"

namespace lockstep::sim {

class World;

class Operators {
  public:
    explicit Operators(World& world) : world_(world) {}

    /// `lockstep run` on a host. Refused at once where the VM has a process there, or where the other host says that
    /// it runs the VM.
    void start(unsigned host, replica::Caution caution);
    /// From now on the VM is started on both hosts at the same moment whenever it runs nowhere. One of them must
    /// become the owner.
    void keep_running();
    /// A start is under way.
    bool busy() const;

  private:
    struct Attempt {
        uint64_t id;
        unsigned host;
        HostClock clock;
        replica::Caution caution;
        replica::Starter starter;
        Micros asleep_until = 0;  ///< as by SIGSTOP
        bool over = false;
    };
    using Shared = std::shared_ptr<Attempt>;

    void tick(const Shared& attempt);
    void when_awake(const Shared& attempt, std::function<void(uint64_t local_ms)> run);
    void pump(const Shared& attempt);
    void carry_out(const Shared& attempt, const replica::LookAtTerm& action);
    void carry_out(const Shared& attempt, const replica::Claim& action);
    void carry_out(const Shared& attempt, const replica::RenewTerm& action);
    void carry_out(const Shared& attempt, const replica::StartGuest& action);
    void carry_out(const Shared& attempt, const replica::GiveUp& action);
    void carry_out(const Shared& attempt, const replica::Say& action);

    World& world_;
    std::vector<Shared> attempts_;
    bool tried_both_ = false;
};

}  // namespace lockstep::sim
