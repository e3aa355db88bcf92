// SPDX-License-Identifier: Apache-2.0
// What a host asks of its cluster's authority, over a TLS session for that purpose (host/tls_settings.h):
//
//     host                                    process started by the authority's daemon
//       ClusterRequest: let me in, or what is new? ----->
//       <----------------------------------- ClusterAnswer, and the end
#pragma once

#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "host/join_token.h"

namespace lockstep::vmm {

enum class ClusterWish : uint8_t {
    kJoin = 1,     ///< of a host with a token
    kRefresh = 2,  ///< of a member: removals, addresses, and a certificate where it asks for one
};

struct ClusterRequest {
    ClusterWish wish = ClusterWish::kRefresh;
    host::TokenId token{};
    host::TokenSecret secret{};
    Bytes key_request = {};  ///< host::make_request(); empty: no certificate is wanted

    template <typename Codec>
    void fields(Codec& codec) {
        codec(wish, token, secret, key_request);
    }
};

struct ClusterAnswer {
    bool accepted = false;
    std::string sentence = {};                              ///< why not
    Bytes certificate = {}, authority = {}, removals = {};  ///< PEM; empty: none
    std::vector<std::string> addresses = {};                ///< of the authority's daemon

    template <typename Codec>
    void fields(Codec& codec) {
        codec(accepted, sentence, certificate, authority, removals, addresses);
    }
};

Bytes encode_cluster_request(const ClusterRequest& request);
Result<ClusterRequest> decode_cluster_request(ByteSpan frame);
Bytes encode_cluster_answer(const ClusterAnswer& answer);
Result<ClusterAnswer> decode_cluster_answer(ByteSpan frame);

/// The authority's answer. `folder`: its own; `peer`: the name in the certificate of who asks, empty where it has shown none;
/// `ip`: where it asks from, which its certificate will name.
ClusterAnswer answer_cluster_request(const std::string& folder, const std::string& peer, ByteSpan frame,
                                     uint64_t now_s, const std::string& ip = {});

}  // namespace lockstep::vmm
