// SPDX-License-Identifier: Apache-2.0
#include "host/terminal_mode.h"

namespace lockstep::host {

Result<RawTerminal> RawTerminal::create(int fd) {
    termios before{};
    if (tcgetattr(fd, &before) < 0)
        return error(
            "standard input is no terminal; use a console of another kind (a pseudo-terminal or a socket)");
    termios raw = before;
    cfmakeraw(&raw);
    tcsetattr(fd, TCSANOW, &raw);
    return RawTerminal(fd, before);
}

RawTerminal::~RawTerminal() {
    if (fd_ >= 0) tcsetattr(fd_, TCSANOW, &before_);
}

}  // namespace lockstep::host
