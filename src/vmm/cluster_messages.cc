// SPDX-License-Identifier: Apache-2.0
#include "vmm/cluster_messages.h"

#include "base/foreign_text.h"
#include "host/authority_folder.h"
#include "vmm/greeting_codec.h"

namespace lockstep::vmm {

namespace {

Result<ClusterAnswer> try_to_answer(const std::string& folder, const std::string& peer, ByteSpan frame,
                                    uint64_t now_s, const std::string& ip) {
    ClusterRequest request = TRY(decode_cluster_request(frame));
    bool joins = request.wish == ClusterWish::kJoin;
    if (!joins && peer.empty()) return error("only a member is told what is new; join the cluster first");
    host::Key key;
    // Before the token is used: a request that is none shall not use it up.
    if (joins || !request.key_request.empty()) key = TRY(host::key_of_request(request.key_request));
    std::string name = peer;
    if (joins) name = TRY(host::use_token(folder, request.token, request.secret, now_s));
    ClusterAnswer answer{.accepted = true};
    if (key) {
        auto issue = joins ? host::issue_certificate : host::issue_to_member;
        host::Certificate certificate = TRY(issue(folder, *key, name, now_s, {ip}));
        answer.certificate = host::pem_of(*certificate);
    }
    host::Identity own = TRY(host::load_identity(folder));
    answer.authority = host::pem_of(*own.authority);
    if (own.removals) answer.removals = host::pem_of(*own.removals);
    answer.addresses = TRY(host::authority_addresses(folder));
    return answer;
}

}  // namespace

Bytes encode_cluster_request(const ClusterRequest& request) { return encode_greeting(request); }
Result<ClusterRequest> decode_cluster_request(ByteSpan frame) {
    return decode_greeting<ClusterRequest>(frame, "a request to the cluster");
}
Bytes encode_cluster_answer(const ClusterAnswer& answer) { return encode_greeting(answer); }
Result<ClusterAnswer> decode_cluster_answer(ByteSpan frame) {
    ClusterAnswer answer = TRY(decode_greeting<ClusterAnswer>(frame, "an answer of the cluster"));
    answer.sentence = foreign_text(answer.sentence);
    return answer;
}

ClusterAnswer answer_cluster_request(const std::string& folder, const std::string& peer, ByteSpan frame,
                                     uint64_t now_s, const std::string& ip) {
    Result<ClusterAnswer> answer = try_to_answer(folder, peer, frame, now_s, ip);
    if (!answer) return {.accepted = false, .sentence = answer.error().message()};
    return answer.take();
}

}  // namespace lockstep::vmm
