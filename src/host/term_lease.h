// SPDX-License-Identifier: Apache-2.0
// The lease of a term at the folder arbiter: a small file beside the term's, which the term's owner keeps changing.
//
//     <vm>.lease-<n>     768 bytes of text: "held" or "free", a count, who, where, with which backup, and when
//
// It is written in place. A reader compares it with what it saw before and needs no more than that it differs, so a
// torn write does no harm, and neither does a clock. Of a meaning of their own are "free" at its head, and the line
// that says on which host the VM is protected: "backup HOST", or "alone". Without one the lease before tells, since a
// process that only starts knows nothing of that yet.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/strong.h"

namespace lockstep::host {

/// What an owner writes.
struct LeaseText {
    bool free = false;   ///< the owner is done with the VM
    uint64_t count = 0;  ///< another one at each renewal
    std::string owner;   ///< the claimant's name
    std::string host;    ///< where it is
    std::optional<std::string>
        backup{};  ///< the host that protects the VM; empty: none does; nothing: not known here
};

/// Two hosts that may go on with a VM without the arbiter.
struct ProtectedBy {
    std::string owner{}, backup{};  ///< empty: it isn't protected
};

/// Whether a renewal was written and no newer term was seen afterwards.
struct RenewAnswer {
    enum class Outcome : uint8_t { kRenewed, kSuperseded, kUnreachable } outcome = Outcome::kUnreachable;
    std::string detail;  ///< the newer term and its claimant, or why the arbiter is out of reach
};

/// What there is to see of a VM's terms.
struct TermLook {
    bool reachable = false;
    Term latest{};         ///< the highest term that anyone has claimed; 0: none
    std::string winner{};  ///< the claimant of that one; empty: unknown
    std::string lease{};   ///< of the term that was asked for, as it was written; empty: there is none
    bool free = false;     ///< its owner is done
    std::string owner{};   ///< of that term: claimant and host, for people
    ProtectedBy pair{};    ///< by that term's lease, or the newest before it that says so
    std::string detail{};  ///< out of reach: a sentence
};

/// On the calling thread; each blocks as long as the storage does.
RenewAnswer renew_in_folder(const std::string& folder, const std::string& vm, Term term,
                            const LeaseText& text);
/// `term` 0: the lease of the latest.
TermLook look_in_folder(const std::string& folder, const std::string& vm, Term term);
/// The same for callers that can't wait for a storage that hangs: out of reach after `timeout_ns`.
TermLook look_in_folder_in_time(const std::string& folder, const std::string& vm, Term term,
                                uint64_t timeout_ns);

}  // namespace lockstep::host
