// SPDX-License-Identifier: Apache-2.0
// Arbitration: who of two may be the one live side in a term.
//
// claim(vm, term) is an atomic test-and-set. Of all claimants of one term of one VM exactly one wins; the
// same claimant asking again gets the same answer. "Unreachable" means that the answer isn't known: the claim
// may have been won all the same, so ask again, under the same claimant name.
//
// The folder arbiter keeps a file <vm>.term-<n> for each term claimed, which holds the claimant's name. It is
// made by link() from a unique temporary file, an operation that is atomic on NFS too; where the reply was
// lost, the link count of the temporary file and the content of the term file tell the truth. Every access to
// the storage happens on a thread of its own: a storage that hangs makes claims "unreachable" after the
// time-out and never blocks the loop. Renewals (term_lease.h) have a second thread, so that no claim waits for one.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/result.h"
#include "base/strong.h"
#include "host/event_loop.h"
#include "host/term_lease.h"

namespace lockstep::host {

enum class Verdict : uint8_t { kWon, kLost, kUnreachable };

struct ClaimAnswer {
    Verdict verdict = Verdict::kUnreachable;
    std::string detail;  ///< lost: the winner's name; unreachable: a sentence that says why
};

/// The highest term that anyone has claimed of a VM.
struct TermAnswer {
    bool reachable = false;
    Term latest;         ///< 0 where none was claimed
    std::string detail;  ///< unreachable: why
};

class Arbiter {
  public:
    virtual ~Arbiter() = default;
    /// Asks for `term` of `vm`. The answer comes on the loop's thread, never from within this call.
    virtual void claim(const std::string& vm, Term term, std::function<void(const ClaimAnswer&)> answer) = 0;
    /// What there is to see of the latest term of `vm`, and of the lease of `term` (0: of the latest).
    virtual void look(const std::string& vm, Term term, std::function<void(const TermLook&)> answer) = 0;
    /// Renews the lease of a term that this side owns. `backup` as in LeaseText.
    virtual void renew(const std::string& vm, Term term, const std::optional<std::string>& backup,
                       std::function<void(const RenewAnswer&)> answer) = 0;
    /// Says that this side is done with the VM: nobody need wait for the end of the lease. `done` comes in any case.
    virtual void set_free(const std::string& vm, Term term, std::function<void()> done) = 0;
};

struct FolderArbiterOptions {
    std::string folder;    ///< on storage that both hosts share
    std::string claimant;  ///< this side's name, unlike any other's; kept for the life of the process
    std::string host{};    ///< where it is, in the lease
    uint64_t timeout_ns = kNsPerSecond;
};

/// The folder need not be reachable yet. Fails where the folder is given by no absolute path or the claimant
/// has no name.
Result<std::unique_ptr<Arbiter>> create_folder_arbiter(EventLoop& loop, const FolderArbiterOptions& options);

/// The claim itself, on the calling thread; blocks as long as the storage does.
ClaimAnswer claim_in_folder(const std::string& folder, const std::string& vm, Term term,
                            const std::string& claimant);
TermAnswer latest_term_in_folder(const std::string& folder, const std::string& vm);
/// Who has won a term; empty where nobody has, or that can't be read.
std::string winner_in_folder(const std::string& folder, const std::string& vm, Term term);

}  // namespace lockstep::host
