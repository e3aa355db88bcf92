// SPDX-License-Identifier: Apache-2.0
// The bare CPU as oracle: runs cases natively, in a child process whose address space holds the sandbox.
//
//     parent: write cases into shared memory ── a byte on a socket ──> child: run each of them
//     parent: read the outcomes              <── a byte on a socket ── child: done
//
// The child enters a case by loading every register and jumping. It comes back by the signal of the exception
// that ends the case; the signal's frame holds the complete state, with vector, error code and CR2. The
// handler leaves on the stack that entered, without returning from the signal. A case that destroys the child
// (it wrote over the child's own memory) or never ends is reported, not hidden.
//
// Some virtual hosts stand between a program and its CPU: with an RSP that isn't canonical an INT3 raises
// #UD there, a signal's handler can't return, and TZCNT has been seen to do what BSF does, as if the host had
// emulated it. On such a host the outcome of a case isn't known that ends with such an RSP, or that begins
// with one and has a TZCNT or LZCNT.
#pragma once

#include <memory>
#include <span>

#include "base/result.h"
#include "sandbox.h"

namespace lockstep::instructions {

class Oracle {
  public:
    /// Starts the child. Call before anything that reserves much address space.
    static Result<std::unique_ptr<Oracle>> create();
    ~Oracle();
    Oracle(const Oracle&) = delete;
    Oracle& operator=(const Oracle&) = delete;

    /// At most this many cases in one run().
    static constexpr size_t kBatch = 64;
    /// The bytes of a case's patches, with 16 for each patch, at most.
    static constexpr size_t kPatchBytes = 8192;

    /// Whether the outcomes of all cases are known here.
    bool judges_any_stack() const { return any_stack_; }

    /// Runs the cases. The outcomes stay valid until the next run().
    Result<std::span<const Outcome>> run(std::span<const Case> cases);

  private:
    struct Shared;
    Oracle(Shared* shared, int socket, int child) : shared_(shared), socket_(socket), child_(child) {}

    static void serve(Shared& shared, int socket);
    Result<void> probe_stacks();

    Shared* shared_;
    int socket_;
    int child_;
    bool any_stack_ = true;
};

}  // namespace lockstep::instructions
