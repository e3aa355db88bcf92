// SPDX-License-Identifier: Apache-2.0
// The server's side of a WebSocket (RFC 6455): messages out of a connection's bytes, and back. Knows no socket.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/bytes.h"

struct wslay_event_context;

namespace lockstep::api {

class WebSocket {
  public:
    static constexpr size_t kMostMessageBytes = 64 << 10;
    using Receiver = std::function<void(ByteSpan message)>;

    explicit WebSocket(Receiver receiver);
    ~WebSocket();
    WebSocket(const WebSocket&) = delete;
    WebSocket& operator=(const WebSocket&) = delete;

    /// Takes the client's bytes; the receiver is called for each whole message in them.
    void receive(ByteSpan bytes);
    /// Sends a message of bytes that needn't be text.
    void send(ByteSpan message);
    /// Says goodbye.
    void close();
    /// Bytes for the client, until now.
    std::string take_output() { return std::move(output_); }
    /// The client has said goodbye, or nonsense: once the output is sent there is nothing more to say.
    bool is_over() const { return is_over_; }

  private:
    struct Callbacks;
    void work();

    Receiver receiver_;
    wslay_event_context* context_ = nullptr;
    Bytes input_;
    size_t taken_ = 0;
    std::string output_;
    bool is_over_ = false;
};

/// What proves to a client that its key was read (Sec-WebSocket-Accept).
std::string web_socket_answer(const std::string& key);

}  // namespace lockstep::api
