// SPDX-License-Identifier: Apache-2.0
#include "vmm/pair_link.h"

#include "vmm/introduction.h"

namespace lockstep::vmm {

namespace {

std::string host_part(const std::string& address) { return address.substr(0, address.rfind(':')); }

}  // namespace

host::ChannelOptions link_options() { return {.largest_frame = kLargestIntroduction}; }

Result<std::unique_ptr<PairLink>> PairLink::create(host::EventLoop& loop,
                                                   std::unique_ptr<host::Channel> channel,
                                                   const std::optional<host::DatagramKeys>& keys) {
    std::unique_ptr<PairLink> link(new PairLink(std::move(channel)));
    if (keys)
        link->seal_ = std::make_unique<Seal>(
            Seal{keys->sends, host::DatagramSealer(keys->sends), host::DatagramOpener(keys->receives)});
    bool ipv6 = link->peer().front() == '[';
    host::SocketAddress any = TRY(host::SocketAddress::parse(ipv6 ? "[::]:0" : "0.0.0.0:0"));
    link->datagrams_ = TRY(host::DatagramSocket::create(
        loop, any,
        [raw = link.get()](ByteSpan datagram, const host::SocketAddress&) { raw->received(datagram); }));
    return link;
}

void PairLink::received(ByteSpan datagram) {
    std::optional<Bytes> opened;
    if (seal_) {
        opened = seal_->opener.open(datagram);
        if (!opened) return;
        datagram = *opened;
    }
    std::shared_ptr<Handlers> handlers = handlers_;
    if (handlers && handlers->datagram) handlers->datagram(datagram);
}

void PairLink::set_handlers(Handlers handlers) {
    handlers_ = std::make_shared<Handlers>(std::move(handlers));
    channel_->set_handlers(
        {.frame = handlers_->message, .closed = handlers_->closed, .drained = handlers_->drained});
}

Result<void> PairLink::set_peer_udp_port(uint16_t port) {
    peer_ = TRY(host::SocketAddress::parse(fmt::format("{}:{}", host_part(peer()), port)));
    peer_known_ = true;
    return {};
}

void PairLink::send_datagram(ByteSpan datagram) {
    if (!peer_known_) return;
    Bytes sealed;
    if (seal_) datagram = sealed = seal_->sealer.seal(datagram, host::Words::kRunning);
    datagram_bytes_ += datagram.size();
    datagrams_->send(peer_, datagram);
}

Bytes PairLink::seal_last_words(ByteSpan words) {
    if (seal_) return seal_->sealer.seal(words, host::Words::kLast);
    return Bytes(words.begin(), words.end());
}

std::optional<host::DatagramKey> PairLink::sending_key() const {
    if (!seal_) return std::nullopt;
    return seal_->sending_key;
}

host::DatagramOpener::Ignored PairLink::ignored_datagrams() const {
    return seal_ ? seal_->opener.ignored() : host::DatagramOpener::Ignored{};
}

void PairLink::close(std::function<void()> done) {
    handlers_.reset();
    channel_->close_after_sending(std::move(done));
}

}  // namespace lockstep::vmm
