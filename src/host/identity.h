// SPDX-License-Identifier: Apache-2.0
// What makes a host a member of its cluster, as it lies in a folder:
//
//     authority.crt   the cluster's certificate, which has signed all others
//     host.crt        this host's, with its name
//     host.key        this host's private key, for root and the user of VM processes
//     removed.crl     serial numbers of hosts that were removed, signed; absent before the first
//
// The folder of the host where the cluster was begun has more: see host/authority_folder.h.
#pragma once

#include <sys/types.h>

#include <string>

#include "host/certificates.h"

namespace lockstep::host {

struct Identity {
    Certificate authority;
    Certificate own;
    Key key;
    RevocationList removals;  ///< null: nobody was removed yet

    std::string name() const { return name_of(*own); }
};

/// The folder in the host's configuration.
std::string cluster_folder();

/// Fails with a sentence: the host is in no cluster, or a file is damaged or doesn't belong to the others.
Result<Identity> load_identity(const std::string& folder);

/// A key and certificates as they lie in the folder of a host that has just become a member.
Result<void> write_identity(const std::string& folder, const Identity& identity);
/// Lets a group read what a member needs for its links; the authority's key and tokens stay root's alone.
Result<void> share_identity(const std::string& folder, gid_t group);
/// Puts a newer certificate, or newer removals, in the place of those that are there. What doesn't come from the same
/// authority, or isn't for this host's key, is refused.
Result<void> renew_certificate(const std::string& folder, ByteSpan pem);
Result<void> renew_removals(const std::string& folder, ByteSpan pem);

}  // namespace lockstep::host
