// SPDX-License-Identifier: Apache-2.0
// One TCP connection with numbered requests and answers (see tools/guest/echo_server.c).
#pragma once

#include "load_client/load.h"

namespace lockstep::load_client {

/// Sends a request at a time and checks number, count and running hash of each answer: nothing may be lost,
/// repeated or changed in either direction, nor the server's memory of the connection.
class EchoLoad : public Load {
  public:
    EchoLoad(const Target& target, uint16_t port, unsigned pause_us) : Load("echo", target, port, pause_us) {}
    ~EchoLoad() override { stop(); }

  protected:
    Result<void> work(Connection& connection) override;

  private:
    uint64_t number_ = 0;
};

}  // namespace lockstep::load_client
