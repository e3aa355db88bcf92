// SPDX-License-Identifier: Apache-2.0
#include "host/identity.h"

#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "host/files.h"

namespace lockstep::host {

namespace {

template <typename Read>
auto read_of(const std::string& path, Read read) -> decltype(read(ByteSpan{}, path)) {
    Bytes pem = TRY(read_file(path));
    return read(pem, path);
}

std::string authority_path(const std::string& folder) { return folder + "/authority.crt"; }
std::string own_path(const std::string& folder) { return folder + "/host.crt"; }
std::string key_path(const std::string& folder) { return folder + "/host.key"; }
std::string removals_path(const std::string& folder) { return folder + "/removed.crl"; }

Key key_of(const X509& certificate) { return Key(X509_get_pubkey(const_cast<X509*>(&certificate))); }

Result<void> check_own(const Identity& identity, const X509& own, const std::string& what) {
    if (X509_check_private_key(&own, identity.key.get()) != 1)
        return error("{} isn't for this host's key; join the cluster anew", what);
    if (X509_verify(const_cast<X509*>(&own), key_of(*identity.authority).get()) != 1)
        return error("{} was signed by another cluster; join this one anew", what);
    return {};
}

Result<void> check_removals(const Identity& identity, X509_CRL& removals, const std::string& what) {
    if (X509_CRL_verify(&removals, key_of(*identity.authority).get()) != 1)
        return error("{} was signed by another cluster; remove it, the daemon fetches it again", what);
    return {};
}

}  // namespace

std::string cluster_folder() { return config_folder() + "/cluster"; }

Result<Identity> load_identity(const std::string& folder) {
    if (::access(own_path(folder).c_str(), F_OK) != 0)
        return error(
            "this host is in no cluster ({} is missing); begin one by `lockstep cluster init`, or join one "
            "by "
            "`lockstep cluster join TOKEN`; `--insecure` is for a laboratory alone",
            own_path(folder));
    Identity identity;
    identity.authority = TRY(read_of(authority_path(folder), read_certificate));
    identity.own = TRY(read_of(own_path(folder), read_certificate));
    identity.key = TRY(read_of(key_path(folder), read_private_key));
    TRY(check_own(identity, *identity.own, own_path(folder)));
    if (::access(removals_path(folder).c_str(), F_OK) == 0) {
        identity.removals = TRY(read_of(removals_path(folder), read_removals));
        TRY(check_removals(identity, *identity.removals, removals_path(folder)));
    }
    return identity;
}

Result<void> write_identity(const std::string& folder, const Identity& identity) {
    TRY(make_folders(folder));
    if (::chmod(folder.c_str(), 0700) != 0) return file_error("close to others", folder, errno);
    TRY(write_secret_file(key_path(folder), pem_of(*identity.key)));
    TRY(write_file_atomically(authority_path(folder), pem_of(*identity.authority)));
    // Last, since it is what makes the host a member.
    return write_file_atomically(own_path(folder), pem_of(*identity.own));
}

Result<void> share_identity(const std::string& folder, gid_t group) {
    auto share = [group](const std::string& path, mode_t mode) -> Result<void> {
        if (::access(path.c_str(), F_OK) != 0) return {};
        if (::chown(path.c_str(), static_cast<uid_t>(-1), group) != 0 || ::chmod(path.c_str(), mode) != 0)
            return file_error("share", path, errno);
        return {};
    };
    std::string tokens = folder + "/tokens";
    if (::access(tokens.c_str(), F_OK) == 0 && ::chmod(tokens.c_str(), 0700) != 0)
        return file_error("close to others", tokens, errno);
    TRY(share(key_path(folder), 0640));
    return share(folder, 0750);
}

Result<void> renew_certificate(const std::string& folder, ByteSpan pem) {
    Identity identity = TRY(load_identity(folder));
    Certificate renewed = TRY(read_certificate(pem, "the new certificate"));
    TRY(check_own(identity, *renewed, "the new certificate"));
    if (name_of(*renewed) != identity.name())
        return error("the new certificate is for {}, not for {}", name_of(*renewed), identity.name());
    return write_file_atomically(own_path(folder), pem_of(*renewed));
}

Result<void> renew_removals(const std::string& folder, ByteSpan pem) {
    Identity identity = TRY(load_identity(folder));
    RevocationList renewed = TRY(read_removals(pem, "the list of removed hosts"));
    TRY(check_removals(identity, *renewed, "the list of removed hosts"));
    // An older list would bring removed hosts back.
    if (identity.removals && start_of(*renewed) <= start_of(*identity.removals)) return {};
    return write_file_atomically(removals_path(folder), pem_of(*renewed));
}

}  // namespace lockstep::host
