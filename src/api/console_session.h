// SPDX-License-Identifier: Apache-2.0
// A VM's console over a WebSocket: what the guest prints as binary messages, what is typed in messages of either kind.
#pragma once

#include <memory>

#include "api/http.h"
#include "host/event_loop.h"
#include "host/file_descriptor.h"

namespace lockstep::api {

/// `console`: connected to the console's socket; it doesn't block.
std::unique_ptr<Session> make_console_session(host::EventLoop& loop, host::FileDescriptor console);

}  // namespace lockstep::api
