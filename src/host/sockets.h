// SPDX-License-Identifier: Apache-2.0
// What TCP and UDP sockets have in common.
#pragma once

#include "base/result.h"
#include "host/address.h"
#include "host/file_descriptor.h"

namespace lockstep::host {

/// The sentence for an errno of making or binding a socket at `at`; `protocol` is "TCP" or "UDP".
Error socket_error(const char* protocol, const SocketAddress& at, int error_number);

/// A non-blocking socket that listens for TCP connections. Fails with a sentence where the port is busy, or the
/// address isn't one of this host's.
Result<FileDescriptor> listen_at(const SocketAddress& at);

/// The addresses of a socket's two ends.
SocketAddress local_address(int socket);
SocketAddress peer_address(int socket);

/// The host's name, for people.
std::string own_name();

}  // namespace lockstep::host
