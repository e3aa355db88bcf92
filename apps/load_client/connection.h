// SPDX-License-Identifier: Apache-2.0
// A blocking TCP connection for the load client, with a bound on silence.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace lockstep::load_client {

/// A TCP connection to the guest. It counts as lost when the peer closes or resets it, or stays silent for
/// longer than the stall bound; the TCP stack's own retransmissions are left to do their work until then.
class Connection {
  public:
    /// Connects, waiting at most `stall_seconds`; the same bound then holds for every read and write.
    static Result<Connection> open(const std::string& host, uint16_t port, unsigned stall_seconds);

    Connection(Connection&& other) noexcept;
    Connection& operator=(Connection&& other) noexcept;
    Connection(const Connection&) = delete;
    Connection& operator=(const Connection&) = delete;
    ~Connection();

    Result<void> write(std::string_view bytes);
    /// The next line, without its end (\n or \r\n).
    Result<std::string> read_line();
    /// At least one byte and at most `limit`; an empty string at the end of the connection.
    Result<std::string> read_some(size_t limit);
    /// Exactly `size` bytes.
    Result<std::string> read_exactly(size_t size);
    /// Segments that the system has sent again since the connection was asked for.
    uint64_t resent() const;

  private:
    explicit Connection(int fd) : fd_(fd) {}
    /// Receives more into buffer_; false at the end of the connection.
    Result<bool> fill();

    int fd_ = -1;
    std::string buffer_;
    size_t used_ = 0;  ///< bytes of buffer_ that have been handed out
};

}  // namespace lockstep::load_client
