// SPDX-License-Identifier: Apache-2.0
#include "vmm/pair_link.h"

#include "vmm/introduction.h"

namespace lockstep::vmm {

namespace {

std::string host_part(const std::string& address) { return address.substr(0, address.rfind(':')); }

}  // namespace

host::ChannelOptions link_options() { return {.largest_frame = kLargestIntroduction}; }

Result<std::unique_ptr<PairLink>> PairLink::create(host::EventLoop& loop,
                                                   std::unique_ptr<host::Channel> channel) {
    std::unique_ptr<PairLink> link(new PairLink(std::move(channel)));
    bool ipv6 = link->peer().front() == '[';
    host::SocketAddress any = TRY(host::SocketAddress::parse(ipv6 ? "[::]:0" : "0.0.0.0:0"));
    link->datagrams_ = TRY(host::DatagramSocket::create(
        loop, any, [raw = link.get()](ByteSpan datagram, const host::SocketAddress&) {
            std::shared_ptr<Handlers> handlers = raw->handlers_;
            if (handlers && handlers->datagram) handlers->datagram(datagram);
        }));
    return link;
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
    datagram_bytes_ += datagram.size();
    datagrams_->send(peer_, datagram);
}

void PairLink::close(std::function<void()> done) {
    handlers_.reset();
    channel_->close_after_sending(std::move(done));
}

}  // namespace lockstep::vmm
