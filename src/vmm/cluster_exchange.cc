// SPDX-License-Identifier: Apache-2.0
#include "vmm/cluster_exchange.h"

#include <utility>

#include "base/log.h"
#include "host/authority_folder.h"
#include "host/clock.h"
#include "vmm/introduction.h"

namespace lockstep::vmm {

ClusterExchange::ClusterExchange(host::EventLoop& loop, std::vector<std::string> addresses, MakeTls make_tls,
                                 const ClusterRequest& request, Done done)
    : loop_(loop),
      addresses_(std::move(addresses)),
      make_tls_(std::move(make_tls)),
      request_(request),
      done_(std::move(done)) {
    failed("no address of it is known");
}

void ClusterExchange::ask_next() {
    const std::string& address = addresses_[next_++];
    Result<host::SocketAddress> to = host::SocketAddress::parse(address);
    if (!to) return failed(to.error().message());
    timeout_ = loop_.call_after(kTimeoutNs, [this, address] { failed(address + " doesn't answer"); });
    connector_ = std::make_unique<host::ChannelConnector>(
        loop_, to.value(), host::ChannelOptions{}, host::ChannelConnector::Times{},
        [this](host::FileDescriptor socket) { connected(std::move(socket)); },
        [this](const Error& why) { failed(why.message()); });
}

void ClusterExchange::connected(host::FileDescriptor socket) {
    Result<host::Tls> tls = make_tls_();
    if (!tls) return finish(tls.take_error());
    handshake_ = std::make_unique<host::TlsHandshake>(
        loop_, host::make_tcp_stream(std::move(socket), {}), tls.take(),
        [this](Result<host::SecuredStream> stream) {
            if (!stream)
                return failed(fmt::format("{}: {}", addresses_[next_ - 1], stream.error().message()));
            secured(stream.take());
        });
}

void ClusterExchange::secured(host::SecuredStream stream) {
    channel_ = std::make_unique<host::Channel>(loop_, std::move(stream.stream), addresses_[next_ - 1],
                                               host::ChannelOptions{.largest_frame = kLargestIntroduction});
    channel_->set_handlers({.frame = [this](ByteSpan frame) { answered(frame); },
                            .closed = [this](host::CloseCause, const Error& why) { failed(why.message()); },
                            .drained = {}});
    channel_->send(encode_cluster_request(request_));
}

void ClusterExchange::answered(ByteSpan frame) {
    Result<ClusterAnswer> answer = decode_cluster_answer(frame);
    if (answer.ok() && !answer.value().accepted) return finish(Error(answer.value().sentence));
    finish(std::move(answer));
}

/// From the loop: what has failed may be what calls.
void ClusterExchange::failed(const std::string& why) {
    timeout_ = {};
    last_failure_ = why;
    loop_.post([this, alive = std::weak_ptr<bool>(alive_)] {
        if (alive.expired() || !done_) return;
        connector_.reset();
        handshake_.reset();
        channel_.reset();
        if (next_ < addresses_.size()) return ask_next();
        finish(error("the cluster's authority can't be asked: {}", last_failure_));
    });
}

void ClusterExchange::finish(Result<ClusterAnswer> answer) {
    timeout_ = {};
    auto shared = std::make_shared<Result<ClusterAnswer>>(std::move(answer));
    loop_.post([this, shared, alive = std::weak_ptr<bool>(alive_)] {
        if (!alive.expired() && done_) std::exchange(done_, nullptr)(std::move(*shared));
    });
}

// --- A host that joins ---

Result<void> join_cluster(host::EventLoop& loop, const std::string& folder, const host::JoinToken& token) {
    if (host::load_identity(folder).ok())
        return error("this host is in a cluster already ({}); remove that folder to leave it", folder);
    host::Identity identity;
    identity.key = TRY(host::make_key());
    ClusterRequest request{.wish = ClusterWish::kJoin,
                           .token = token.id,
                           .secret = token.secret,
                           .key_request = TRY(host::make_request(*identity.key))};
    Result<ClusterAnswer> answer = error("it was interrupted");
    ClusterExchange exchange(
        loop, token.addresses, [&] { return host::tls_joiner(token.authority); }, request,
        [&](Result<ClusterAnswer> got) {
            answer = std::move(got);
            loop.stop();
        });
    loop.run();
    if (!answer) return answer.take_error();
    identity.authority = TRY(host::read_certificate(answer.value().authority, "the cluster's certificate"));
    identity.own = TRY(host::read_certificate(answer.value().certificate, "this host's certificate"));
    TRY(host::write_identity(folder, identity));
    TRY(host::write_authority_addresses(folder, answer.value().addresses));
    if (answer.value().removals.empty()) return {};
    return host::renew_removals(folder, answer.value().removals);
}

// --- A member ---

IdentityKeeper::IdentityKeeper(host::EventLoop& loop, std::string folder)
    : loop_(loop), folder_(std::move(folder)) {
    look();
}

void IdentityKeeper::look() {
    timer_ = loop_.call_after(kPeriodNs, [this] { look(); });
    if (Result<void> kept = keep(); !kept) complain(kept.error().message());
}

Result<void> IdentityKeeper::keep() {
    host::Identity identity = TRY(host::load_identity(folder_));
    if (host::is_authority(folder_)) return keep_own(identity);
    ClusterRequest request;
    // One of before certificates had addresses is replaced, too.
    bool lacks_address =
        host::addresses_of(*identity.own).empty() && !std::exchange(asked_for_address_, true);
    if (lacks_address || host::is_to_be_renewed(host::validity_of(*identity.own), host::date_s()))
        request.key_request = TRY(host::make_request(*identity.key));
    exchange_ = std::make_unique<ClusterExchange>(
        loop_, TRY(host::authority_addresses(folder_)),
        [this]() -> Result<host::Tls> {
            return host::tls_client(TRY(host::load_identity(folder_)), host::TlsPurpose::kCluster);
        },
        request,
        [this](Result<ClusterAnswer> answer) {
            Result<void> taken = answer ? take(answer.value()) : Result<void>(answer.take_error());
            exchange_.reset();
            if (!taken) return complain(taken.error().message());
            complaint_.clear();
        });
    return {};
}

Result<void> IdentityKeeper::keep_own(const host::Identity& identity) {
    std::vector<std::string> ips = TRY(host::authority_ips(folder_));
    bool lacks_address = !ips.empty() && host::addresses_of(*identity.own).empty();
    if (!lacks_address && !host::is_to_be_renewed(host::validity_of(*identity.own), host::date_s()))
        return {};
    host::Certificate renewed =
        TRY(host::issue_certificate(folder_, *identity.key, identity.name(), host::date_s(), ips));
    return take({.accepted = true, .certificate = host::pem_of(*renewed)});
}

Result<void> IdentityKeeper::take(const ClusterAnswer& answer) {
    if (!answer.certificate.empty()) {
        TRY(host::renew_certificate(folder_, answer.certificate));
        host::Identity renewed = TRY(host::load_identity(folder_));
        log_info("this host's certificate was renewed until {}",
                 host::date_text(host::validity_of(*renewed.own).until_s));
    }
    if (!answer.removals.empty()) TRY(host::renew_removals(folder_, answer.removals));
    if (answer.addresses.empty()) return {};
    Result<std::vector<std::string>> known = host::authority_addresses(folder_);
    if (known.ok() && known.value() == answer.addresses) return {};
    return host::write_authority_addresses(folder_, answer.addresses);
}

/// Asked every minute, once for each reason.
void IdentityKeeper::complain(const std::string& why) {
    if (std::exchange(complaint_, why) == why) return;
    Result<host::Identity> identity = host::load_identity(folder_);
    log_warning("{}{}", why,
                identity ? fmt::format("; this host's certificate is good until {}",
                                       host::date_text(host::validity_of(*identity.value().own).until_s))
                         : "");
}

}  // namespace lockstep::vmm
