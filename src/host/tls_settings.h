// SPDX-License-Identifier: Apache-2.0
// How this project uses TLS: version 1.3 alone, few ciphers and groups, no session is ever resumed, and both sides show
// certificates of one cluster.
#pragma once

#include <optional>
#include <string>

#include "host/identity.h"
#include "host/sealed_datagrams.h"

namespace lockstep::host {

/// What a connection is for, as its two sides agree (ALPN).
enum class TlsPurpose : uint8_t {
    kPair,     ///< a VM's link: both sides are members
    kCluster,  ///< questions to the authority: who asks may not be a member yet
};

/// New sessions, for one connection each.
Result<Tls> tls_server(const Identity& identity);
Result<Tls> tls_client(const Identity& identity, TlsPurpose purpose);
/// Of a host that is no member yet: knows the other side by the fingerprint of its authority. For kCluster.
Result<Tls> tls_joiner(const Fingerprint& authority);

/// Of the API, for all its sessions: whoever connects must show a certificate of the cluster, a person's or a host's, and
/// speaks HTTP/1.1.
Result<TlsSettings> tls_api_settings(const Identity& identity);
Result<Tls> tls_api_server(const TlsSettings& settings);

// Once hands are shaken.
TlsPurpose purpose_of(SSL& tls);
/// The name in the other side's certificate; empty: it has shown none.
std::string peer_name(SSL& tls);
/// The role in it; none of a host, or where it has shown none.
std::optional<Role> peer_role(SSL& tls);
DatagramKeys datagram_keys(SSL& tls);

/// Why a session has failed, without a remedy on this side where there is none. OpenSSL's errors are gone then.
std::string sentence_of_tls_failure(SSL& tls);

}  // namespace lockstep::host
