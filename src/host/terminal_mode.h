// SPDX-License-Identifier: Apache-2.0
// The raw mode of a terminal.
#pragma once

#include <termios.h>

#include <utility>

#include "base/result.h"

namespace lockstep::host {

/// Puts a terminal into raw mode, and back at the end.
class RawTerminal {
  public:
    /// Fails where `fd` (not owned) is no terminal.
    static Result<RawTerminal> create(int fd);
    ~RawTerminal();
    RawTerminal(RawTerminal&& other) noexcept : fd_(std::exchange(other.fd_, -1)), before_(other.before_) {}
    RawTerminal& operator=(RawTerminal&&) = delete;

  private:
    RawTerminal(int fd, const termios& before) : fd_(fd), before_(before) {}
    int fd_;
    termios before_;
};

inline constexpr unsigned char kEscapeByte = 0x1d;  // Ctrl-]

}  // namespace lockstep::host
