// SPDX-License-Identifier: Apache-2.0
// Keys and certificates of a cluster: its authority signs one for each host, and lists those that are taken back.
//
// Keys are of the curve P-256; what is written is PEM. Dates are seconds since 1970.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "host/openssl.h"
#include "host/role.h"

namespace lockstep::host {

inline constexpr uint64_t kSecondsPerDay = 86'400;
inline constexpr uint64_t kHostDays = 90;
inline constexpr uint64_t kPersonDays = 365;
inline constexpr uint64_t kAuthorityDays = 20 * 365;
/// Clocks of two hosts may differ by this: what is signed is good from so long ago.
inline constexpr uint64_t kClockSkewSeconds = 300;

using Fingerprint = std::array<uint8_t, 32>;  ///< SHA-256 of a certificate

struct Validity {
    uint64_t from_s, until_s;
};

Result<Key> make_key();
/// A key, and the certificate that it has signed for itself.
struct Authority {
    Key key;
    Certificate certificate;
};
Result<Authority> make_authority(const std::string& cluster, uint64_t now_s);

/// A wish for a certificate: a public key, and the proof that its owner has the private one.
Result<Bytes> make_request(EVP_PKEY& key);
/// The public key of a request that another host has made. Fails with a sentence where the proof is none.
Result<Key> key_of_request(ByteSpan request);

/// `addresses`: IP addresses (without port) under which others reach the host; names and nonsense are left out.
Result<Certificate> sign_host(const Authority& authority, EVP_PKEY& host_key, const std::string& name,
                              Validity validity, const std::vector<std::string>& addresses = {});
/// Of a person, who may do by the API what his role allows. It is none of a host: no link of a VM takes it.
Result<Certificate> sign_person(const Authority& authority, EVP_PKEY& key, const std::string& name, Role role,
                                Validity validity);
/// A list of serial numbers, in hexadecimal digits, whose certificates count no more. Of two lists the one with the later
/// `from_s` is the newer.
Result<RevocationList> sign_removals(const Authority& authority, const std::vector<std::string>& serials,
                                     uint64_t from_s);

std::string name_of(const X509& certificate);
/// Whether it is a person's and none of a host.
bool is_persons(const X509& certificate);
/// A person's; none where it isn't one that this build knows.
std::optional<Role> role_of(const X509& certificate);
std::string serial_of(const X509& certificate);
/// The IP addresses that it is good for, as clients of other programs check them.
std::vector<std::string> addresses_of(const X509& certificate);
Validity validity_of(const X509& certificate);
/// As they were given to sign_removals().
std::vector<std::string> serials_in(const X509_CRL& list);
uint64_t start_of(const X509_CRL& list);
Fingerprint fingerprint_of(const X509& certificate);
/// Whether a certificate is to be replaced: a third of its time is left, or less.
bool is_to_be_renewed(Validity validity, uint64_t now_s);

Bytes pem_of(const X509& certificate);
Bytes pem_of(const EVP_PKEY& private_key);
Bytes pem_of(const X509_CRL& list);
/// Fail with a sentence that begins with `what`, as in "the certificate /etc/lockstep/cluster/host.crt".
Result<Certificate> read_certificate(ByteSpan pem, const std::string& what);
Result<Key> read_private_key(ByteSpan pem, const std::string& what);
Result<RevocationList> read_removals(ByteSpan pem, const std::string& what);

/// "2026-02-28".
std::string date_text(uint64_t seconds);

}  // namespace lockstep::host
