// SPDX-License-Identifier: Apache-2.0
// What a process says when a signal of its own ends it: a fault or a failed check, never SIGKILL.
//
// Nothing can be made at that moment, so the datagram lies ready. A loss of it is possible, as of any.
#pragma once

#include "base/bytes.h"
#include "host/address.h"
#include "host/file_descriptor.h"

namespace lockstep::host {

/// To be used by one thread. There may be one at a time in a process.
class LastWords {
  public:
    /// From now on SIGSEGV, SIGBUS, SIGILL, SIGFPE and SIGABRT send what was prepared before the process ends
    /// as it would have. Handlers that are installed later must hand what isn't theirs to the former ones.
    LastWords();
    ~LastWords();
    LastWords(const LastWords&) = delete;
    LastWords& operator=(const LastWords&) = delete;

    static constexpr size_t kLargest = 256;
    /// Replaces what was prepared. At most kLargest bytes.
    void prepare(const SocketAddress& to, ByteSpan datagram);
    /// Nothing is to be said.
    void forget();

  private:
    FileDescriptor ipv4_, ipv6_;  // sockets of their own: a link may be closed at any moment
};

}  // namespace lockstep::host
