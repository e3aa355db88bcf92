// SPDX-License-Identifier: Apache-2.0
// Listening sockets: accepting connections on the loop.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/result.h"
#include "host/event_loop.h"
#include "host/file_descriptor.h"

namespace lockstep::host {

/// Calls back with each connection that a listening, non-blocking socket accepts. When the process is out of
/// descriptors it pauses for a second, for the waiting connection would keep the loop spinning.
class Acceptor {
  public:
    Acceptor(EventLoop& loop, FileDescriptor socket, std::function<void(FileDescriptor connection)> accepted);
    int descriptor() const { return socket_.get(); }

  private:
    void accept_all();

    EventLoop& loop_;
    FileDescriptor socket_;
    std::function<void(FileDescriptor)> accepted_;
    Watch watch_;
    Timer pause_;
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);  // a callback may destroy this object
};

/// Listens at a UNIX socket that only its owner may use. One left behind by a dead process is replaced.
Result<FileDescriptor> listen_at_path(const std::string& path);
/// Connects to one; the descriptor blocks. Fails where it isn't accepted, or queued to be, in time.
Result<FileDescriptor> connect_to_path(const std::string& path, uint64_t timeout_ns = 30 * kNsPerSecond);
/// The same without waiting, not even for room in its queue; nor does the descriptor block.
Result<FileDescriptor> connect_to_path_at_once(const std::string& path);
/// How long a call on a socket may block: SO_RCVTIMEO or SO_SNDTIMEO; 0: for ever.
void set_socket_timeout(int socket, int option, uint64_t timeout_ns);

}  // namespace lockstep::host
