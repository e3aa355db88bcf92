// SPDX-License-Identifier: Apache-2.0
// The copy of a guest, on its way to a new backup and on its arrival: the machine's configuration, then its
// state.
//
//     owner    start() -> next() ... next(), as the link takes them -> empty: all is given, and freed
//     backup   store() ... store() -> take()
#pragma once

#include "base/bytes.h"
#include "base/shared_bytes.h"

namespace lockstep::pair {

/// How a copy goes on its way.
struct ClonePace {
    size_t part = 1 << 20;   ///< bytes of a message at most
    size_t ahead = 8 << 20;  ///< bytes that may wait in the channel
};

class CloneOut {
  public:
    void start(SharedBytes configuration, Bytes state);
    /// What is to be sent next, at most so many bytes; empty: nothing more. It is valid until the next call.
    ByteSpan next(size_t most);
    void stop();
    bool leaves() const { return leaves_; }

  private:
    bool leaves_ = false;
    SharedBytes configuration_;
    Bytes state_;
    size_t given_ = 0;  ///< of both
};

class CloneIn {
  public:
    /// The part of the state at `offset`; parts come in order, and the first begins anew. `expected`: room
    /// that is made for all of them, which costs nothing until it is used.
    void store(uint64_t offset, ByteSpan bytes, size_t expected);
    /// The state; nothing of it is left here.
    Bytes take();

  private:
    Bytes state_;
};

}  // namespace lockstep::pair
