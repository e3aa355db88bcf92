// SPDX-License-Identifier: Apache-2.0
// Messages between two processes of this host that one made by a fork of the other; a descriptor may go along.
#pragma once

#include <utility>

#include "base/bytes.h"
#include "base/result.h"
#include "host/file_descriptor.h"

namespace lockstep::host {

/// The two ends.
Result<std::pair<FileDescriptor, FileDescriptor>> message_sockets();

/// Sends all of it, and the descriptor unless that is -1. Nothing happens where the other end is closed.
void send_message(int socket, ByteSpan bytes, int passed = -1);

struct Message {
    bool closed = false;  ///< there is no other end any more
    Bytes bytes;
    FileDescriptor passed;
};
/// Waits for the next one.
Message receive_message(int socket);

}  // namespace lockstep::host
