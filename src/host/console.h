// SPDX-License-Identifier: Apache-2.0
// The host's side of a console: a pseudo-terminal, the terminal that the program was started in, or a UNIX
// socket.
//
// Goals: the guest never waits for whoever watches it. Output that nobody reads is kept up to a bound, and
// then the oldest goes. All calls and callbacks are on the loop's thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/bytes.h"
#include "base/result.h"
#include "host/event_loop.h"

namespace lockstep::host {

class Console {
  public:
    /// Bytes that were typed, at most 4 KiB at a time.
    using Receiver = std::function<void(Bytes input)>;
    static constexpr size_t kBacklog = 256 * 1024;

    virtual ~Console() = default;
    /// Output of the guest.
    virtual void write(ByteSpan output) = 0;
    virtual void set_receiver(Receiver receiver) = 0;
    /// Back-pressure: what is typed waits in the host's kernel while paused.
    virtual void pause_input() = 0;
    virtual void resume_input() = 0;
    /// Where to attach, for people; the path of the symbolic link or of the socket.
    virtual std::string place() const = 0;
};

/// A pseudo-terminal. `link` becomes a symbolic link to it, so that its path is stable; it is removed at the
/// end.
Result<std::unique_ptr<Console>> create_pty_console(EventLoop& loop, const std::string& link);

/// Standard input and output in raw mode; the old mode comes back at the end. Ctrl-] (0x1d) calls `escape`
/// and isn't passed on. Fails where standard input is no terminal.
Result<std::unique_ptr<Console>> create_terminal_console(EventLoop& loop, Callback escape);

/// A UNIX socket at `path`. A client that connects first gets the recent output, then what follows; several
/// may be connected at a time. A client too slow to follow is disconnected.
Result<std::unique_ptr<Console>> create_socket_console(EventLoop& loop, const std::string& path);

/// Joins the terminal of this program to the socket console at `path` until Ctrl-] is typed or the console
/// goes away. Where standard input is no terminal its bytes are passed on as they are. For the command line.
Result<void> attach_terminal(const std::string& path);

}  // namespace lockstep::host
