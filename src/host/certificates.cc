// SPDX-License-Identifier: Apache-2.0
#include "host/certificates.h"

#include <arpa/inet.h>
#include <openssl/bn.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <ctime>

#include "base/check.h"
#include "host/random.h"

namespace lockstep::host {

namespace {

constexpr size_t kSerialBytes = 16;

Error failed(const char* what) { return error("cannot {}: {}", what, openssl_reason()); }

void set_name(X509_NAME* name, const std::string& text) {
    const auto* bytes = reinterpret_cast<const unsigned char*>(text.data());
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, bytes, static_cast<int>(text.size()), -1, 0);
}

void set_random_serial(X509& certificate) {
    std::array<uint8_t, kSerialBytes> bytes;
    fill_random(bytes);
    bytes[0] = (bytes[0] & 0x7f) | 0x40;  // positive, and always as long
    std::unique_ptr<BIGNUM, OpenSslFree<BN_free>> number(BN_bin2bn(bytes.data(), bytes.size(), nullptr));
    BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(&certificate));
}

bool add_extension(X509& certificate, X509& issuer, int which, const std::string& value) {
    X509V3_CTX context;
    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, &issuer, &certificate, nullptr, nullptr, 0);
    std::unique_ptr<X509_EXTENSION, OpenSslFree<X509_EXTENSION_free>> extension(
        X509V3_EXT_conf_nid(nullptr, &context, which, value.c_str()));
    return extension && X509_add_ext(&certificate, extension.get(), -1) == 1;
}

Certificate begin_certificate(EVP_PKEY& key, const std::string& name, Validity validity) {
    Certificate certificate(X509_new());
    CHECK(certificate, "no memory for a certificate");
    X509_set_version(certificate.get(), X509_VERSION_3);
    set_random_serial(*certificate);
    ASN1_TIME_set(X509_getm_notBefore(certificate.get()), static_cast<time_t>(validity.from_s));
    ASN1_TIME_set(X509_getm_notAfter(certificate.get()), static_cast<time_t>(validity.until_s));
    set_name(X509_get_subject_name(certificate.get()), name);
    X509_set_pubkey(certificate.get(), &key);
    return certificate;
}

uint64_t seconds_of(const ASN1_TIME* time) {
    tm fields{};
    if (ASN1_TIME_to_tm(time, &fields) != 1) return 0;
    return static_cast<uint64_t>(std::max<time_t>(timegm(&fields), 0));
}

std::string digits_of(const ASN1_INTEGER* serial) {
    std::unique_ptr<BIGNUM, OpenSslFree<BN_free>> number(ASN1_INTEGER_to_BN(serial, nullptr));
    char* digits = BN_bn2hex(number.get());
    std::string text = digits;
    OPENSSL_free(digits);
    return text;
}

template <typename Write>
Bytes written(Write write) {
    Bio bio(BIO_new(BIO_s_mem()));
    CHECK(bio && write(bio.get()) == 1, "OpenSSL writes no PEM");
    return bytes_in(*bio);
}

/// What the certificates of hosts and people have in common.
bool sign_member(const Authority& authority, X509& own) {
    X509& issuer = *authority.certificate;
    X509_set_issuer_name(&own, X509_get_subject_name(&issuer));
    return add_extension(own, issuer, NID_basic_constraints, "critical,CA:FALSE") &&
           add_extension(own, issuer, NID_key_usage, "critical,digitalSignature") &&
           add_extension(own, issuer, NID_subject_key_identifier, "hash") &&
           add_extension(own, issuer, NID_authority_key_identifier, "keyid:always") &&
           X509_sign(&own, authority.key.get(), EVP_sha256()) > 0;
}

/// The name, and of `addresses` those that are one: whatever else would be read as words of OpenSSL's language.
std::string alternative_names(const std::string& name, const std::vector<std::string>& addresses) {
    std::string names = "DNS:" + name;
    for (const std::string& address : addresses) {
        in6_addr binary{};
        bool is_address = inet_pton(AF_INET, address.c_str(), &binary) == 1 ||
                          inet_pton(AF_INET6, address.c_str(), &binary) == 1;
        if (is_address) names += ",IP:" + address;
    }
    return names;
}

}  // namespace

Result<Key> make_key() {
    Key key(EVP_EC_gen("P-256"));
    if (!key) return failed("make a key");
    return key;
}

Result<Authority> make_authority(const std::string& cluster, uint64_t now_s) {
    Authority authority{TRY(make_key()), nullptr};
    authority.certificate = begin_certificate(
        *authority.key, cluster, {now_s - kClockSkewSeconds, now_s + kAuthorityDays * kSecondsPerDay});
    X509& own = *authority.certificate;
    X509_set_issuer_name(&own, X509_get_subject_name(&own));
    bool made = add_extension(own, own, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
                add_extension(own, own, NID_key_usage, "critical,keyCertSign,cRLSign") &&
                add_extension(own, own, NID_subject_key_identifier, "hash") &&
                X509_sign(&own, authority.key.get(), EVP_sha256()) > 0;
    if (!made) return failed("make the cluster's certificate");
    return authority;
}

Result<Bytes> make_request(EVP_PKEY& key) {
    CertificateRequest request(X509_REQ_new());
    unsigned char* der = nullptr;
    int size = -1;
    if (request && X509_REQ_set_pubkey(request.get(), &key) == 1 &&
        X509_REQ_sign(request.get(), &key, EVP_sha256()) > 0)
        size = i2d_X509_REQ(request.get(), &der);
    if (size <= 0) return failed("make a request for a certificate");
    Bytes bytes(der, der + size);
    OPENSSL_free(der);
    return bytes;
}

Result<Key> key_of_request(ByteSpan request) {
    const unsigned char* at = request.data();
    CertificateRequest parsed(d2i_X509_REQ(nullptr, &at, static_cast<long>(request.size())));
    Key key(parsed ? X509_REQ_get_pubkey(parsed.get()) : nullptr);
    if (!key || EVP_PKEY_get_base_id(key.get()) != EVP_PKEY_EC || EVP_PKEY_get_bits(key.get()) != 256 ||
        X509_REQ_verify(parsed.get(), key.get()) != 1)
        return error("the request for a certificate is none: {}", openssl_reason());
    return key;
}

Result<Certificate> sign_host(const Authority& authority, EVP_PKEY& host_key, const std::string& name,
                              Validity validity, const std::vector<std::string>& addresses) {
    Certificate certificate = begin_certificate(host_key, name, validity);
    X509& own = *certificate;
    bool made = add_extension(own, *authority.certificate, NID_ext_key_usage, "serverAuth,clientAuth") &&
                add_extension(own, *authority.certificate, NID_subject_alt_name,
                              alternative_names(name, addresses)) &&
                sign_member(authority, own);
    if (!made) return failed("make a host's certificate");
    return certificate;
}

Result<Certificate> sign_person(const Authority& authority, EVP_PKEY& key, const std::string& name, Role role,
                                Validity validity) {
    Certificate certificate = begin_certificate(key, name, validity);
    X509& own = *certificate;
    std::string_view unit = name_of(role);
    const auto* bytes = reinterpret_cast<const unsigned char*>(unit.data());
    bool made = X509_NAME_add_entry_by_txt(X509_get_subject_name(&own), "OU", MBSTRING_UTF8, bytes,
                                           static_cast<int>(unit.size()), -1, 0) == 1 &&
                add_extension(own, *authority.certificate, NID_ext_key_usage, "clientAuth") &&
                sign_member(authority, own);
    if (!made) return failed("make a person's certificate");
    return certificate;
}

Result<RevocationList> sign_removals(const Authority& authority, const std::vector<std::string>& serials,
                                     uint64_t from_s) {
    RevocationList list(X509_CRL_new());
    X509_CRL_set_version(list.get(), X509_CRL_VERSION_2);
    X509_CRL_set_issuer_name(list.get(), X509_get_subject_name(authority.certificate.get()));
    std::unique_ptr<ASN1_TIME, OpenSslFree<ASN1_TIME_free>> from(
        ASN1_TIME_set(nullptr, static_cast<time_t>(from_s)));
    // What was taken back stays so: the list doesn't expire before the authority does.
    std::unique_ptr<ASN1_TIME, OpenSslFree<ASN1_TIME_free>> end(
        ASN1_TIME_set(nullptr, static_cast<time_t>(from_s + kAuthorityDays * kSecondsPerDay)));
    X509_CRL_set1_lastUpdate(list.get(), from.get());
    X509_CRL_set1_nextUpdate(list.get(), end.get());
    for (const std::string& serial : serials) {
        BIGNUM* number = nullptr;
        if (BN_hex2bn(&number, serial.c_str()) == 0) return error("'{}' is no serial number", serial);
        std::unique_ptr<BIGNUM, OpenSslFree<BN_free>> owned(number);
        std::unique_ptr<ASN1_INTEGER, OpenSslFree<ASN1_INTEGER_free>> integer(
            BN_to_ASN1_INTEGER(number, nullptr));
        X509_REVOKED* removed = X509_REVOKED_new();
        X509_REVOKED_set_serialNumber(removed, integer.get());
        X509_REVOKED_set_revocationDate(removed, from.get());
        X509_CRL_add0_revoked(list.get(), removed);
    }
    X509_CRL_sort(list.get());
    if (X509_CRL_sign(list.get(), authority.key.get(), EVP_sha256()) <= 0) return failed("sign the removals");
    return list;
}

std::string name_of(const X509& certificate) {
    char text[128] = "";
    X509_NAME_get_text_by_NID(X509_get_subject_name(&certificate), NID_commonName, text, sizeof text);
    return text;
}

bool is_persons(const X509& certificate) {
    return X509_NAME_get_index_by_NID(X509_get_subject_name(&certificate), NID_organizationalUnitName, -1) >=
           0;
}

std::optional<Role> role_of(const X509& certificate) {
    char text[32] = "";
    X509_NAME_get_text_by_NID(X509_get_subject_name(&certificate), NID_organizationalUnitName, text,
                              sizeof text);
    return find_role(text);
}

std::vector<std::string> addresses_of(const X509& certificate) {
    std::unique_ptr<GENERAL_NAMES, OpenSslFree<GENERAL_NAMES_free>> names(
        static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(&certificate, NID_subject_alt_name, nullptr, nullptr)));
    std::vector<std::string> addresses;
    for (int i = 0; names && i < sk_GENERAL_NAME_num(names.get()); ++i) {
        const GENERAL_NAME* name = sk_GENERAL_NAME_value(names.get(), i);
        if (name->type != GEN_IPADD) continue;
        char text[INET6_ADDRSTRLEN] = "";
        int family = ASN1_STRING_length(name->d.iPAddress) == 4 ? AF_INET : AF_INET6;
        if (inet_ntop(family, ASN1_STRING_get0_data(name->d.iPAddress), text, sizeof text))
            addresses.emplace_back(text);
    }
    return addresses;
}

std::string serial_of(const X509& certificate) { return digits_of(X509_get0_serialNumber(&certificate)); }

std::vector<std::string> serials_in(const X509_CRL& list) {
    STACK_OF(X509_REVOKED)* entries = X509_CRL_get_REVOKED(const_cast<X509_CRL*>(&list));
    std::vector<std::string> serials;
    for (int i = 0; entries && i < sk_X509_REVOKED_num(entries); ++i)
        serials.push_back(digits_of(X509_REVOKED_get0_serialNumber(sk_X509_REVOKED_value(entries, i))));
    return serials;
}

uint64_t start_of(const X509_CRL& list) { return seconds_of(X509_CRL_get0_lastUpdate(&list)); }

Validity validity_of(const X509& certificate) {
    return {seconds_of(X509_get0_notBefore(&certificate)), seconds_of(X509_get0_notAfter(&certificate))};
}

Fingerprint fingerprint_of(const X509& certificate) {
    Fingerprint fingerprint{};
    unsigned size = 0;
    CHECK(X509_digest(&certificate, EVP_sha256(), fingerprint.data(), &size) == 1);
    return fingerprint;
}

bool is_to_be_renewed(Validity validity, uint64_t now_s) {
    return now_s + (validity.until_s - validity.from_s) / 3 >= validity.until_s;
}

Bytes pem_of(const X509& certificate) {
    return written([&](BIO* bio) { return PEM_write_bio_X509(bio, &certificate); });
}

Bytes pem_of(const EVP_PKEY& private_key) {
    return written([&](BIO* bio) {
        return PEM_write_bio_PKCS8PrivateKey(bio, &private_key, nullptr, nullptr, 0, nullptr, nullptr);
    });
}

Bytes pem_of(const X509_CRL& list) {
    return written([&](BIO* bio) { return PEM_write_bio_X509_CRL(bio, &list); });
}

Result<Certificate> read_certificate(ByteSpan pem, const std::string& what) {
    Certificate certificate(PEM_read_bio_X509(bio_over(pem).get(), nullptr, nullptr, nullptr));
    if (!certificate) return error("{} is none: {}", what, openssl_reason());
    return certificate;
}

Result<Key> read_private_key(ByteSpan pem, const std::string& what) {
    Key key(PEM_read_bio_PrivateKey(bio_over(pem).get(), nullptr, nullptr, nullptr));
    if (!key) return error("{} is none: {}", what, openssl_reason());
    return key;
}

Result<RevocationList> read_removals(ByteSpan pem, const std::string& what) {
    RevocationList list(PEM_read_bio_X509_CRL(bio_over(pem).get(), nullptr, nullptr, nullptr));
    if (!list) return error("{} is none: {}", what, openssl_reason());
    return list;
}

std::string date_text(uint64_t seconds) {
    auto time = static_cast<time_t>(seconds);
    tm fields{};
    gmtime_r(&time, &fields);
    return fmt::format("{:04}-{:02}-{:02}", fields.tm_year + 1900, fields.tm_mon + 1, fields.tm_mday);
}

}  // namespace lockstep::host
