// SPDX-License-Identifier: Apache-2.0
// What must be true of a run, whatever went wrong in it. The checkers see what the outside sees and what each
// process does; they share no code with the replica.
//
//   one history      every effect is that of one deterministic machine, fed with the survivor's log
//   one owner        no effect of an earlier owner once a later one is live
//   nothing skipped  what a side gone live doesn't send again has left
//   no freeze        a protected guest's outputs don't wait for a backup that doesn't let them go
//   output rule      no effect before the backup holds its entry
//   nothing lost     what was acknowledged to the client is in the survivor and on the disk
//   right data       a read returns what was written last
//   redundancy       when the faults are over the guest runs, is protected and answers
//   not two at once  when one goes live nobody else may act
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/strong.h"
#include "replica/starter.h"
#include "sim/toy_machine.h"

namespace lockstep::sim {

/// Something left a process.
struct Effect {
    uint64_t process = 0;
    Term term;            ///< of the process, when it let the effect out
    bool alone = false;   ///< the process says that it needs no acknowledgement
    LogPos entry;         ///< the output's kOutput entry
    LogPos backup_holds;  ///< what the process's backup really has received
    ToyOutput output;
};

class Checker {
  public:
    void effect(const Effect& effect);
    /// A process that goes live doesn't send this packet again, since it has left the other side.
    void said_to_have_left(uint64_t process, Term term, const ToyOutput& packet);
    /// A write reached the disk, for a process that was in `term` when it issued it. A write that was under way
    /// when its process died may do so as long as the next owner has submitted none.
    void disk_written(uint64_t process, Term term);
    /// A process became the owner, in `term`; `others_may_act`: some other process would let an output out
    /// now.
    void owner(uint64_t process, Term term, bool others_may_act);
    /// The guest is switched on anew, in `term`: it knows nothing of what was, and the disk is empty. By force:
    /// earlier owners may act until they find that out; what they do isn't looked at any more. False, and nothing has
    /// changed: a newer term has an owner already, so this life was over before it let anything out.
    bool begin_life(Term term, replica::Caution caution);
    /// Whether what is done in `term` isn't looked at.
    bool overruled(Term term) const { return term < forced_; }
    /// The client got the answer to a request.
    void answered(uint64_t request) { answered_.insert(request); }
    /// A backup's replay differed from its primary although nothing had been done to it.
    void diverged(uint64_t process);

    /// The survivor's log from the first entry on.
    void finish_history(const std::vector<ToyEntry>& log);
    /// The survivor's machine and the disk, nothing being in flight.
    void finish_state(const ToyMachine& machine, const std::array<uint64_t, kSectors>& disk);

    void fail(std::string checker, std::string what);
    bool failed() const { return !failure_.empty(); }
    /// The first failure: "checker: what happened".
    const std::string& failure() const { return failure_; }

  private:
    std::string failure_;
    Term newest_term_;
    uint64_t newest_owner_ = 0;
    Term newest_writers_term_;
    uint64_t newest_writer_ = 0;
    Term newest_life_;                    ///< the newest term in which the guest was switched on anew
    Term forced_;                         ///< the newest term that was claimed by force
    std::map<uint64_t, ToyOutput> seen_;  ///< effects by output number
    std::set<uint64_t> answered_;
};

}  // namespace lockstep::sim
