// SPDX-License-Identifier: Apache-2.0
#include "host/authority_folder.h"

#include <fcntl.h>
#include <openssl/crypto.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <sstream>

#include "host/address.h"
#include "host/files.h"
#include "host/random.h"

namespace lockstep::host {

namespace {

std::string key_path(const std::string& folder) { return folder + "/authority.key"; }
std::string issued_path(const std::string& folder) { return folder + "/issued"; }
std::string token_path(const std::string& folder, const TokenId& id) {
    return folder + "/tokens/" + hex_text(id);
}

ByteSpan bytes_of(const std::string& text) {
    return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

std::string hash_of(const TokenSecret& secret) {
    std::array<uint8_t, 32> hash{};
    unsigned size = 0;
    EVP_Digest(secret.data(), secret.size(), hash.data(), &size, EVP_sha256(), nullptr);
    return hex_text(hash);
}

Result<Authority> load_authority(const std::string& folder) {
    if (!is_authority(folder)) {
        auto addresses = authority_addresses(folder);
        return error(
            "this host isn't the one where the cluster was begun; do it there{}",
            addresses.ok() && !addresses.value().empty() ? " (" + addresses.value().front() + ")" : "");
    }
    Authority authority;
    Bytes pem = TRY(read_file(key_path(folder)));
    authority.key = TRY(read_private_key(pem, key_path(folder)));
    authority.certificate = TRY(load_identity(folder)).authority;
    return authority;
}

Result<void> note_issued(const std::string& folder, const X509& certificate) {
    std::string name = name_of(certificate);
    if (is_persons(certificate)) name = listed_name_of_person(name);
    std::string line =
        fmt::format("{} {} {}\n", serial_of(certificate), name, date_text(validity_of(certificate).until_s));
    FileDescriptor file(
        ::open(issued_path(folder).c_str(), O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!file) return file_error("write", issued_path(folder), errno);
    return append_to_file(issued_path(folder), bytes_of(line));
}

/// For what looks at the folder and then changes it by what it saw: nobody else does until the descriptor is closed.
Result<FileDescriptor> lock_folder(const std::string& folder) {
    FileDescriptor lock(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!lock || ::flock(lock.get(), LOCK_EX) != 0) return file_error("lock", folder, errno);
    return lock;
}

Validity validity_from(uint64_t now_s) {
    return {now_s - kClockSkewSeconds, now_s + kHostDays * kSecondsPerDay};
}

Result<void> check_person_name(const std::string& name) {
    if (Result<void> checked = check_host_name(name); !checked)
        return error(
            "\"{}\" can't be a person's name; use 1 to 63 letters, digits, dots and hyphens, with a "
            "letter or digit at both ends",
            name);
    return {};
}

/// What lies in tokens/ID.
struct TokenNote {
    std::string hash, name;
    uint64_t until_s = 0;
};

TokenNote parse_note(const std::string& text) {
    std::istringstream fields(text);
    TokenNote note;
    fields >> note.hash >> note.name >> note.until_s;
    return note;
}

/// A host that was removed shall not come back by a token that it hasn't used yet.
void forget_tokens(const std::string& folder, const std::string& name) {
    std::error_code ignored;
    for (const auto& entry : std::filesystem::directory_iterator(folder + "/tokens", ignored)) {
        Result<std::string> text = read_text(entry.path());
        if (text.ok() && parse_note(text.value()).name == name)
            std::filesystem::remove(entry.path(), ignored);
    }
}

/// The serial numbers of a host's certificates.
Result<std::vector<std::string>> serials_of(const std::string& folder, const std::string& name) {
    std::vector<std::string> serials;
    for (const IssuedCertificate& one : TRY(issued_certificates(folder)))
        if (one.name == name) serials.push_back(one.serial);
    return serials;
}

/// A name that can't be looked up now is left out.
std::vector<std::string> ips_of(const std::vector<std::string>& addresses) {
    std::vector<std::string> ips;
    for (const std::string& address : addresses)
        if (Result<SocketAddress> parsed = SocketAddress::parse(address))
            ips.push_back(parsed.value().ip_text());
    return ips;
}

}  // namespace

bool is_authority(const std::string& folder) { return ::access(key_path(folder).c_str(), F_OK) == 0; }

Result<std::vector<std::string>> authority_addresses(const std::string& folder) {
    std::istringstream lines(TRY(read_text(folder + "/addresses")));
    std::vector<std::string> addresses;
    for (std::string line; std::getline(lines, line);)
        if (!line.empty()) addresses.push_back(line);
    return addresses;
}

Result<std::vector<std::string>> authority_ips(const std::string& folder) {
    return ips_of(TRY(authority_addresses(folder)));
}

Result<void> write_authority_addresses(const std::string& folder, const std::vector<std::string>& addresses) {
    std::string text;
    for (const std::string& address : addresses) text += address + "\n";
    return write_file_atomically(folder + "/addresses", bytes_of(text));
}

Result<void> begin_cluster(const std::string& folder, const std::string& host_name,
                           const std::vector<std::string>& addresses, uint64_t now_s) {
    TRY(check_host_name(host_name));
    if (::access((folder + "/host.crt").c_str(), F_OK) == 0)
        return error("this host is in a cluster already ({}); remove that folder to leave it", folder);
    Authority authority = TRY(make_authority("Lockstep cluster " + random_name(), now_s));
    Identity identity;
    identity.key = TRY(make_key());
    identity.own =
        TRY(sign_host(authority, *identity.key, host_name, validity_from(now_s), ips_of(addresses)));
    X509_up_ref(authority.certificate.get());
    identity.authority.reset(authority.certificate.get());
    TRY(make_folders(folder + "/tokens"));
    TRY(write_secret_file(key_path(folder), pem_of(*authority.key)));
    TRY(write_authority_addresses(folder, addresses));
    TRY(write_identity(folder, identity));
    return note_issued(folder, *identity.own);
}

Result<JoinToken> issue_token(const std::string& folder, const std::string& host_name, uint64_t until_s) {
    TRY(check_host_name(host_name));
    Authority authority = TRY(load_authority(folder));
    if (host_name == name_of(*TRY(load_identity(folder)).own))
        return error("{} is this host, which can't be removed; give another host a name of its own",
                     host_name);
    JoinToken token;
    token.name = host_name;
    token.addresses = TRY(authority_addresses(folder));
    token.authority = fingerprint_of(*authority.certificate);
    token.until_s = until_s;
    fill_random(token.id);
    fill_random(token.secret);
    TRY(make_folders(folder + "/tokens"));
    std::string text = fmt::format("{} {} {}\n", hash_of(token.secret), host_name, until_s);
    TRY(write_secret_file(token_path(folder, token.id), bytes_of(text)));
    return token;
}

Result<std::string> use_token(const std::string& folder, const TokenId& id, const TokenSecret& secret,
                              uint64_t now_s) {
    TRY(load_authority(folder));
    std::string path = token_path(folder, id);
    auto used_already = [] {
        return error("the token was used already; make another by `lockstep cluster token`");
    };
    Result<std::string> text = read_text(path);
    if (!text && ::access((path + ".used").c_str(), F_OK) == 0) return used_already();
    TokenNote note = parse_note(text ? text.value() : "");
    std::string given = hash_of(secret);
    if (note.hash.size() != given.size() || CRYPTO_memcmp(note.hash.data(), given.data(), given.size()) != 0)
        return error("the token is none of this cluster; make one by `lockstep cluster token`");
    if (now_s > note.until_s)
        return error("the token was good until {} UTC only; make another by `lockstep cluster token`",
                     date_text(note.until_s));
    // Of several that use it at once one can rename it.
    if (::rename(path.c_str(), (path + ".used").c_str()) != 0) return used_already();
    return note.name;
}

Result<Certificate> issue_certificate(const std::string& folder, EVP_PKEY& host_key, const std::string& name,
                                      uint64_t now_s, const std::vector<std::string>& addresses) {
    Authority authority = TRY(load_authority(folder));
    Certificate certificate = TRY(sign_host(authority, host_key, name, validity_from(now_s), addresses));
    TRY(note_issued(folder, *certificate));
    return certificate;
}

Result<Certificate> issue_to_member(const std::string& folder, EVP_PKEY& host_key, const std::string& name,
                                    uint64_t now_s, const std::vector<std::string>& addresses) {
    TRY(load_authority(folder));
    FileDescriptor lock = TRY(lock_folder(folder));
    Identity identity = TRY(load_identity(folder));
    std::vector<std::string> removed;
    if (identity.removals) removed = serials_in(*identity.removals);
    std::vector<std::string> issued = TRY(serials_of(folder, name));
    bool has_none_left = std::ranges::all_of(issued, [&](const std::string& serial) {
        return std::ranges::find(removed, serial) != removed.end();
    });
    if (!issued.empty() && has_none_left) return error("{} was removed from the cluster", name);
    return issue_certificate(folder, host_key, name, now_s, addresses);
}

std::string listed_name_of_person(const std::string& name) { return "user/" + name; }

Result<PersonsCertificate> issue_to_person(const std::string& folder, const std::string& name, Role role,
                                           uint64_t now_s) {
    TRY(check_person_name(name));
    Authority authority = TRY(load_authority(folder));
    PersonsCertificate issued{TRY(make_key()), nullptr};
    issued.certificate = TRY(sign_person(authority, *issued.key, name, role,
                                         {now_s - kClockSkewSeconds, now_s + kPersonDays * kSecondsPerDay}));
    TRY(note_issued(folder, *issued.certificate));
    return issued;
}

Result<std::vector<IssuedCertificate>> issued_certificates(const std::string& folder) {
    std::vector<IssuedCertificate> issued;
    // Of an authority of which the key alone was saved.
    if (::access(issued_path(folder).c_str(), F_OK) != 0) return issued;
    std::istringstream lines(TRY(read_text(issued_path(folder))));
    for (IssuedCertificate one; lines >> one.serial >> one.name >> one.until;) issued.push_back(one);
    return issued;
}

Result<void> remove_host(const std::string& folder, const std::string& name, uint64_t now_s) {
    Authority authority = TRY(load_authority(folder));
    FileDescriptor lock = TRY(lock_folder(folder));
    Identity identity = TRY(load_identity(folder));
    if (name == identity.name())
        return error("{} is the host where the cluster was begun; it can't be removed", name);
    std::vector<std::string> removed = TRY(serials_of(folder, name));
    if (removed.empty())
        return error("nobody of the name {} was let into this cluster; see `lockstep cluster show`", name);
    uint64_t from_s = now_s - kClockSkewSeconds;
    if (identity.removals) {
        // Later than the list before, even in the same second or by a clock that was put back: else it would count as old.
        from_s = std::max(from_s, start_of(*identity.removals) + 1);
        for (const std::string& serial : serials_in(*identity.removals))
            if (std::ranges::find(removed, serial) == removed.end()) removed.push_back(serial);
    }
    RevocationList removals = TRY(sign_removals(authority, removed, from_s));
    forget_tokens(folder, name);
    return renew_removals(folder, pem_of(*removals));
}

}  // namespace lockstep::host
