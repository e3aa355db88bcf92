// SPDX-License-Identifier: Apache-2.0
#include "api/web_socket.h"

#include <openssl/evp.h>
#include <wslay/wslay.h>

#include <algorithm>
#include <array>

#include "base/check.h"

namespace lockstep::api {

/// What the library calls; `user` is the WebSocket.
struct WebSocket::Callbacks {
    static ssize_t give(wslay_event_context_ptr context, uint8_t* buffer, size_t size, int, void* user) {
        auto& self = *static_cast<WebSocket*>(user);
        size_t left = self.input_.size() - self.taken_;
        if (left == 0) {
            wslay_event_set_error(context, WSLAY_ERR_WOULDBLOCK);
            return -1;
        }
        size_t given = std::min(size, left);
        std::copy_n(self.input_.begin() + static_cast<ptrdiff_t>(self.taken_), given, buffer);
        self.taken_ += given;
        return static_cast<ssize_t>(given);
    }
    static ssize_t take(wslay_event_context_ptr, const uint8_t* bytes, size_t size, int, void* user) {
        static_cast<WebSocket*>(user)->output_.append(reinterpret_cast<const char*>(bytes), size);
        return static_cast<ssize_t>(size);
    }
    static void message(wslay_event_context_ptr, const wslay_event_on_msg_recv_arg* message, void* user) {
        if (wslay_is_ctrl_frame(message->opcode)) return;
        static_cast<WebSocket*>(user)->receiver_({message->msg, message->msg_length});
    }
};

WebSocket::WebSocket(Receiver receiver) : receiver_(std::move(receiver)) {
    static const wslay_event_callbacks kCallbacks = {.recv_callback = Callbacks::give,
                                                     .send_callback = Callbacks::take,
                                                     .genmask_callback = nullptr,
                                                     .on_frame_recv_start_callback = nullptr,
                                                     .on_frame_recv_chunk_callback = nullptr,
                                                     .on_frame_recv_end_callback = nullptr,
                                                     .on_msg_recv_callback = Callbacks::message};
    CHECK(wslay_event_context_server_init(&context_, &kCallbacks, this) == 0, "no memory for a WebSocket");
    wslay_event_config_set_max_recv_msg_length(context_, kMostMessageBytes);
}

WebSocket::~WebSocket() { wslay_event_context_free(context_); }

void WebSocket::receive(ByteSpan bytes) {
    if (is_over_) return;
    input_.assign(bytes.begin(), bytes.end());
    taken_ = 0;
    if (wslay_event_recv(context_) != 0) is_over_ = true;
    work();
}

void WebSocket::send(ByteSpan message) {
    if (is_over_) return;
    wslay_event_msg content = {
        .opcode = WSLAY_BINARY_FRAME, .msg = message.data(), .msg_length = message.size()};
    wslay_event_queue_msg(context_, &content);
    work();
}

void WebSocket::close() {
    if (is_over_) return;
    wslay_event_queue_close(context_, WSLAY_CODE_NORMAL_CLOSURE, nullptr, 0);
    work();
    is_over_ = true;
}

void WebSocket::work() {
    if (wslay_event_send(context_) != 0) is_over_ = true;
    // After nonsense the library reads no more.
    if (wslay_event_get_close_received(context_) || !wslay_event_get_read_enabled(context_)) is_over_ = true;
}

std::string web_socket_answer(const std::string& key) {
    std::string text = key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    std::array<unsigned char, EVP_MAX_MD_SIZE> hash{};
    unsigned size = 0;
    CHECK(EVP_Digest(text.data(), text.size(), hash.data(), &size, EVP_sha1(), nullptr) == 1);
    std::array<unsigned char, 64> base64{};
    int length = EVP_EncodeBlock(base64.data(), hash.data(), static_cast<int>(size));
    return {base64.begin(), base64.begin() + length};
}

}  // namespace lockstep::api
