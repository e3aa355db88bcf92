// SPDX-License-Identifier: Apache-2.0
#include "host/tls_handshake.h"

#include <utility>

namespace lockstep::host {

TlsHandshake::TlsHandshake(EventLoop& loop, std::unique_ptr<ByteStream> below, Tls tls, Done done)
    : stream_(std::make_unique<TlsStream>(std::move(below), std::move(tls))),
      done_(std::move(done)),
      watch_(loop.watch(stream_->descriptor(), Interest::kReadWrite, [this](Ready) { advance(); })),
      timeout_(loop.call_after(kTimeoutNs,
                               [this] { finish(error("the other side didn't shake hands in time")); })) {}

void TlsHandshake::advance() {
    switch (stream_->shake_hands()) {
        case TlsStream::Handshake::kDone: {
            watch_.reset();  // the stream's next owner watches the descriptor
            SSL& tls = stream_->tls();
            SecuredStream secured{nullptr, purpose_of(tls), peer_name(tls), peer_role(tls),
                                  datagram_keys(tls)};
            secured.stream = std::move(stream_);
            return finish(std::move(secured));
        }
        case TlsStream::Handshake::kWantsRead:
            return watch_.set_interest(Interest::kRead);
        case TlsStream::Handshake::kWantsWrite:
            return watch_.set_interest(Interest::kWrite);
        case TlsStream::Handshake::kFailed:
            return fail();
    }
}

void TlsHandshake::fail() {
    std::string why = sentence_of_tls_failure(stream_->tls());
    if (stream_->is_closed_below())
        why = "it closed the connection instead of shaking hands; was it started with `--insecure`?";
    finish(Error(why));
}

void TlsHandshake::finish(Result<SecuredStream> secured) {
    watch_.reset();
    timeout_.reset();
    std::exchange(done_, nullptr)(std::move(secured));
}

}  // namespace lockstep::host
