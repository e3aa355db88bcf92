// SPDX-License-Identifier: Apache-2.0
// What an operator types to join a cluster, and what the authority is asked by hosts that are no members yet.
#include "host/join_token.h"
#include "target.h"
#include "vmm/cluster_messages.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace lockstep;
    ByteSpan input(data, size);
    std::string text(input.begin(), input.end());
    // The checksum keeps all but a few inputs from the fields: so the input is tried as their bytes, too.
    for (const std::string& tried : {text, host::hex_text(input), host::token_text_of(input)})
        if (Result<host::JoinToken> token = host::parse_token(tried); token.ok())
            CHECK(host::parse_token(host::token_text(token.value())).ok(),
                  "a token is refused once it is written again");
    if (auto request = vmm::decode_cluster_request(input); request.ok()) {
        (void)host::key_of_request(request.value().key_request);
        Bytes again = vmm::encode_cluster_request(request.value());
        CHECK(vmm::decode_cluster_request(again).ok(), "a request is refused once it is encoded again");
    }
    if (auto answer = vmm::decode_cluster_answer(input); answer.ok()) {
        (void)host::read_certificate(answer.value().certificate, "a certificate");
        (void)host::read_removals(answer.value().removals, "removals");
        CHECK(vmm::decode_cluster_answer(vmm::encode_cluster_answer(answer.value())).ok(),
              "an answer is refused once it is encoded again");
    }
    (void)host::key_of_request(input);
    (void)host::read_certificate(input, "a certificate");
    (void)host::read_removals(input, "removals");
    return 0;
}
