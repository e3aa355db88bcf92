// SPDX-License-Identifier: Apache-2.0
// A start by hand: the proof that nobody owns the VM, before its next term is claimed.
//
// An owner keeps changing a value at the arbiter, its lease of the term (RenewTerm in action.h), and lets nothing
// out alone once it hasn't managed to for term_lease_ms. A start watches the newest term and its lease, and claims
// the next term when both have been the same for watch_ms, which is longer. Only each one's own clock counts; none
// is compared with another's.
//
//     [look at the newest term]--> free, or never claimed --------------+
//          |  ^                                                         v
//          |  +-- every look_ms, the same                      [claim the next term]--> lost: somebody was quicker
//          +----> the same for watch_ms ------------------------------->|
//          +----> changed: somebody owns it                             v won
//          +----> it is of two other hosts, a pair             [renew it, look at the old lease once more]
//                                                                       |  +--> changed: the old owner lived then;
//                                                                       |  |    it finds the newer term or loses its
//                                                                       |  |    lease within watch_ms: wait
//                                                                       |  +--> and it is of two other hosts now:
//                                                                       v       yield until it says that it is done
//                                                                   the guest starts
//
// The last look closes the gap between the last of the watching and the claim: an owner that renewed there would
// act for up to term_lease_ms more. Either it sees the newer term when it has renewed, or this look sees the renewal.
//
// A protected pair acts without the arbiter for as long as it lives (host_pair.h). Its owner halts when it reaches the
// arbiter the next time, and says so there; a start that has waited for that in vain gives up, and no later one takes
// what it has claimed for a sign that the pair is over, since its lease doesn't say on which hosts the VM is.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "base/strong.h"
#include "replica/action.h"
#include "replica/hooks.h"
#include "replica/replica.h"
#include "replica/timing.h"

namespace lockstep::replica {

/// Whether a start waits for proof that nobody owns the VM, or takes the operator's word.
enum class Caution : uint8_t { kWatch, kForce };

/// What the arbiter knows of a VM.
struct TermView {
    bool reachable = false;
    Term latest;        ///< the newest term claimed; 0: none
    std::string lease;  ///< what was last written for the term that was asked for; empty: nothing
    bool free = false;  ///< its owner is done: the guest is off
    std::string owner;  ///< of the lease, for people; empty: unknown
    HostPair hosts;     ///< of the newest lease, up to that one, which says on which hosts the VM is
    std::string why;    ///< out of reach: a sentence
};

/// Ask for the newest term and for the lease of `term` (0: of the newest); answer with on_look().
struct LookAtTerm {
    Term term;
};
/// The VM is this process's: make its replica with this term, which is leased as of `leased_from_ms`.
struct StartGuest {
    Term term;
    uint64_t leased_from_ms;
};
/// The VM may not start here, and why.
struct GiveUp {
    std::string sentence;
};
/// Claim is answered with on_arbiter(), RenewTerm with on_renewed().
using StartAction = std::variant<LookAtTerm, Claim, RenewTerm, StartGuest, GiveUp, Say>;

class Starter {
  public:
    /// `host` as Config::host.
    Starter(std::string vm_name, std::string host, const Timing& timing, Caution caution,
            Hooks* hooks = nullptr);

    /// To be called at least every look_ms.
    void on_time(uint64_t now_ms);
    void on_look(uint64_t now_ms, const TermView& view);
    /// `detail`: of a lost claim the winner, of an unanswered one why.
    void on_arbiter(uint64_t now_ms, ArbiterAnswer answer, const std::string& detail);
    void on_renewed(uint64_t now_ms, Renewal answer, const std::string& detail);
    std::vector<StartAction> take_actions();

  private:
    enum class Step : uint8_t { kWatching, kClaiming, kRenewing, kLastLook, kWaiting, kYielding, kOver };
    void first_look(const TermView& view);
    void watch(const TermView& view);
    void last_look(const TermView& view);
    void look_at_pair(const TermView& view);
    void look();
    bool is_of_others(const TermView& view) const;
    void claim();
    void renew();
    void start();
    void give_up(const std::string& sentence);
    bool heedless() const;

    std::string vm_name_, host_;
    Timing timing_;
    Caution caution_;
    Hooks* hooks_;
    Step step_ = Step::kWatching;
    uint64_t now_ms_ = 0;
    bool asked_ = false;     ///< a look is under way
    uint64_t asked_ms_ = 0;  ///< when it, or the last one, began
    bool seen_ = false;
    TermView watched_;         ///< what has been the same since...
    uint64_t since_ms_ = 0;    ///< ... this moment
    bool renewing_ = false;    ///< a renewal is under way
    uint64_t renewed_ms_ = 0;  ///< when it, or the last one, was asked for
    uint64_t wait_until_ms_ = 0;
    std::vector<StartAction> actions_;
};

}  // namespace lockstep::replica
