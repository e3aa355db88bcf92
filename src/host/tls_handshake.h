// SPDX-License-Identifier: Apache-2.0
// Shakes hands on a connected socket, on the loop: the socket becomes a stream of a known peer, or a sentence.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "host/event_loop.h"
#include "host/tls_settings.h"
#include "host/tls_stream.h"

namespace lockstep::host {

/// A stream whose other end is known.
struct SecuredStream {
    std::unique_ptr<ByteStream> stream;
    TlsPurpose purpose = TlsPurpose::kPair;
    std::string peer_name;  ///< of its certificate; empty: it has shown none, which only kCluster allows
    std::optional<Role> peer_role;  ///< of a person; only the API lets people in
    DatagramKeys datagram_keys{};
};

/// Destroying it gives up without a call back.
class TlsHandshake {
  public:
    using Done = std::function<void(Result<SecuredStream> secured)>;
    static constexpr uint64_t kTimeoutNs = 5 * kNsPerSecond;

    /// `done` comes once, on the loop, within kTimeoutNs; it may destroy this object.
    TlsHandshake(EventLoop& loop, std::unique_ptr<ByteStream> below, Tls tls, Done done);

  private:
    void advance();
    void fail();
    void finish(Result<SecuredStream> secured);

    std::unique_ptr<TlsStream> stream_;
    Done done_;
    Watch watch_;
    Timer timeout_;
};

}  // namespace lockstep::host
