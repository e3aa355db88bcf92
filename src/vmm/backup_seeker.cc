// SPDX-License-Identifier: Apache-2.0
#include "vmm/backup_seeker.h"

#include "base/log.h"
#include "host/sockets.h"

namespace lockstep::vmm {

namespace {

constexpr uint64_t kGreetingTimeoutNs = 5 * host::kNsPerSecond;

}  // namespace

Greeting::Greeting(host::EventLoop& loop, const std::string& host, const LinkSecurity& security,
                   const Introduction& introduction, uint64_t timeout_ns, Done done)
    : loop_(loop), host_(host), security_(security), introduction_(introduction), done_(std::move(done)) {
    timeout_ = loop.call_after(timeout_ns, [this] { fail("it doesn't answer"); });
    connect();
}

void Greeting::connect() {
    Result<host::SocketAddress> address = host::SocketAddress::parse(host_);
    if (!address) return finish(error("no backup can be had: {}", address.error().message()));
    connector_ = std::make_unique<host::ChannelConnector>(
        loop_, address.value(), link_options(), host::ChannelConnector::Times{},
        [this](host::FileDescriptor socket) { connected(std::move(socket)); },
        [this](const Error& why) { finish(error("no backup can be had: {}", why.message())); });
}

void Greeting::connected(host::FileDescriptor socket) {
    if (security_.kind == Security::kTls) return shake_hands(std::move(socket));
    introduce(host::make_channel(loop_, std::move(socket), link_options()), std::nullopt);
}

void Greeting::shake_hands(host::FileDescriptor socket) {
    auto tls = [&]() -> Result<host::Tls> {
        return host::tls_client(TRY(host::load_identity(security_.folder)), host::TlsPurpose::kPair);
    }();
    if (!tls) return finish(error("no backup can be had: {}", tls.error().message()));
    std::string peer = host::peer_address(socket.get()).text();
    handshake_ = std::make_unique<host::TlsHandshake>(
        loop_, host::make_tcp_stream(std::move(socket), link_options()), tls.take(),
        [this, peer](Result<host::SecuredStream> secured) {
            if (!secured)
                return finish(error("no backup can be had from {}: {}", host_, secured.error().message()));
            introduce(std::make_unique<host::Channel>(loop_, std::move(secured.value().stream), peer,
                                                      link_options()),
                      secured.value().datagram_keys);
        });
}

void Greeting::introduce(std::unique_ptr<host::Channel> channel,
                         const std::optional<host::DatagramKeys>& keys) {
    Result<std::unique_ptr<PairLink>> link = PairLink::create(loop_, std::move(channel), keys);
    if (!link) return fail(link.error().message());
    link_ = link.take();
    introduction_.udp_port = link_->udp_port();
    link_->set_handlers({.message = [this](ByteSpan frame) { answered(frame); },
                         .datagram = {},
                         .closed = [this](host::CloseCause, const Error& why) { fail(why.message()); },
                         .drained = {}});
    link_->send(encode_introduction(introduction_));
}

void Greeting::answered(ByteSpan frame) {
    Result<Answer> answer = decode_answer(frame);
    if (!answer) return finish(error("no backup can be had from {}: {}", host_, answer.error().message()));
    if (!answer.value().accepted) return finish(Error(answer.value().sentence), answer.value());
    if (Result<void> set = link_->set_peer_udp_port(answer.value().udp_port); !set)
        return fail(set.error().message());
    finish(std::move(link_), answer.value());
}

void Greeting::fail(const std::string& reason) {
    finish(error("no backup can be had from {}: {}; see that `lockstep serve` runs there", host_, reason));
}

/// The callback may destroy this object, so it comes from the loop.
void Greeting::finish(Result<std::unique_ptr<PairLink>> link, const Answer& answer) {
    if (!done_) return;
    timeout_.reset();
    auto shared = std::make_shared<Result<std::unique_ptr<PairLink>>>(std::move(link));
    loop_.post([done = std::exchange(done_, nullptr), shared, answer, alive = std::weak_ptr<bool>(alive_)] {
        if (!alive.expired()) done(std::move(*shared), answer);
    });
}

void BackupSeeker::set_candidates(std::vector<std::string> candidates) {
    candidates_ = std::move(candidates);
    next_ = 0;
    greeting_.reset();
}

void BackupSeeker::seek(const Introduction& introduction,
                        std::function<void(std::unique_ptr<PairLink>)> found) {
    if (greeting_) return;
    if (candidates_.empty()) {
        failure_ = "protection.hosts names no other host";
        return;
    }
    const std::string& host = candidates_[next_++ % candidates_.size()];
    greeting_ = std::make_unique<Greeting>(
        loop_, host, security_, introduction, kGreetingTimeoutNs,
        [this, host, found](Result<std::unique_ptr<PairLink>> link, const Answer&) {
            greeting_.reset();
            if (!link) return failed(host, link.error().message());
            failure_.clear();
            complaints_.clear();
            found(link.take());
        });
}

/// Asked every second, a host is complained of once for each reason.
void BackupSeeker::failed(const std::string& host, const std::string& why) {
    failure_ = why;
    std::string& last = complaints_[host];
    if (std::exchange(last, why) != why) log_warning("{}", why);
}

}  // namespace lockstep::vmm
