// SPDX-License-Identifier: Apache-2.0
// What the host has, beyond its own identity (host/identity.h), on which the cluster was begun:
//
//     authority.key   signs the hosts' certificates; whoever has it, is the cluster
//     addresses       of its daemon, a line each; every host of the cluster has this file
//     issued          a line for each certificate: serial number, name, last day
//     tokens/ID       a token that may be used: a hash of its secret, the host's name, the last second
//     tokens/ID.used  one that was
//
// Several processes may use it at once.
#pragma once

#include <string>
#include <vector>

#include "host/identity.h"
#include "host/join_token.h"

namespace lockstep::host {

/// Makes a cluster with this host as its first. Fails where the folder has one already.
Result<void> begin_cluster(const std::string& folder, const std::string& host_name,
                           const std::vector<std::string>& addresses, uint64_t now_s);
bool is_authority(const std::string& folder);

Result<std::vector<std::string>> authority_addresses(const std::string& folder);
/// The same without ports, as a certificate has them.
Result<std::vector<std::string>> authority_ips(const std::string& folder);
Result<void> write_authority_addresses(const std::string& folder, const std::vector<std::string>& addresses);

// What only the authority can do; elsewhere a sentence says which host that is.

Result<JoinToken> issue_token(const std::string& folder, const std::string& host_name, uint64_t until_s);
/// The name that a token is for, whose use this is. Fails with a sentence where it is unknown, was used or is too old.
Result<std::string> use_token(const std::string& folder, const TokenId& id, const TokenSecret& secret,
                              uint64_t now_s);
/// A certificate for 90 days. `addresses`: the host's, without port.
Result<Certificate> issue_certificate(const std::string& folder, EVP_PKEY& host_key, const std::string& name,
                                      uint64_t now_s, const std::vector<std::string>& addresses = {});
/// The same for a host that has one. Fails with a sentence where it was removed, perhaps since its connection was made.
Result<Certificate> issue_to_member(const std::string& folder, EVP_PKEY& host_key, const std::string& name,
                                    uint64_t now_s, const std::vector<std::string>& addresses = {});
/// For a person, for a year: his key is made here, and nothing of it is kept.
struct PersonsCertificate {
    Key key;
    Certificate certificate;
};
Result<PersonsCertificate> issue_to_person(const std::string& folder, const std::string& name, Role role,
                                           uint64_t now_s);
/// What stands for a person where names of hosts stand, too: "user/alice".
std::string listed_name_of_person(const std::string& name);
/// All certificates and tokens of a host count no more, wherever the list of removals has come to.
Result<void> remove_host(const std::string& folder, const std::string& name, uint64_t now_s);

struct IssuedCertificate {
    std::string serial, name, until;
};
Result<std::vector<IssuedCertificate>> issued_certificates(const std::string& folder);

}  // namespace lockstep::host
