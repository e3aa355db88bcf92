// SPDX-License-Identifier: Apache-2.0
#include "host/tls_settings.h"

#include <openssl/err.h>
#include <openssl/x509_vfy.h>

#include <cstring>

#include "base/check.h"

namespace lockstep::host {

namespace {

constexpr char kCiphers[] = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256";
constexpr char kGroups[] = "X25519:P-256";
constexpr char kSignatures[] = "ECDSA+SHA256";
constexpr char kExportLabel[] = "EXPORTER-lockstep-datagrams";
constexpr unsigned kMostHandshakeBytes = 16 * 1024;  // of a certificate and its chain

struct Protocol {
    TlsPurpose purpose;
    std::string_view name;  // with its length in front, as it stands in a hello
};
constexpr Protocol kProtocols[] = {{TlsPurpose::kPair, "\x0flockstep-pair/1"},
                                   {TlsPurpose::kCluster, "\x12lockstep-cluster/1"}};

std::string_view protocol_of(TlsPurpose purpose) {
    return kProtocols[purpose == TlsPurpose::kPair ? 0 : 1].name;
}

const unsigned char* bytes_of(std::string_view text) {
    return reinterpret_cast<const unsigned char*>(text.data());
}

Result<TlsSettings> common_settings(const SSL_METHOD* role) {
    TlsSettings settings(SSL_CTX_new(role));
    bool set = settings && SSL_CTX_set_min_proto_version(settings.get(), TLS1_3_VERSION) == 1 &&
               SSL_CTX_set_ciphersuites(settings.get(), kCiphers) == 1 &&
               SSL_CTX_set1_groups_list(settings.get(), kGroups) == 1 &&
               SSL_CTX_set1_sigalgs_list(settings.get(), kSignatures) == 1 &&
               SSL_CTX_set_num_tickets(settings.get(), 0) == 1;
    if (!set) return error("this OpenSSL can't do what Lockstep needs of TLS: {}", openssl_reason());
    SSL_CTX_set_session_cache_mode(settings.get(), SSL_SESS_CACHE_OFF);
    SSL_CTX_set_max_cert_list(settings.get(), kMostHandshakeBytes);
    SSL_CTX_set_mode(settings.get(), SSL_MODE_AUTO_RETRY);
    // The frames say where they end; a process that was killed says no goodbye.
    SSL_CTX_set_options(settings.get(),
                        SSL_OP_IGNORE_UNEXPECTED_EOF | SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
    return settings;
}

Result<TlsSettings> member_settings(const Identity& identity, const SSL_METHOD* role) {
    TlsSettings settings = TRY(common_settings(role));
    X509_STORE* store = SSL_CTX_get_cert_store(settings.get());
    bool set = SSL_CTX_use_certificate(settings.get(), identity.own.get()) == 1 &&
               SSL_CTX_use_PrivateKey(settings.get(), identity.key.get()) == 1 &&
               SSL_CTX_add1_chain_cert(settings.get(), identity.authority.get()) == 1 &&
               X509_STORE_add_cert(store, identity.authority.get()) == 1;
    if (set && identity.removals)
        set = X509_STORE_add_crl(store, identity.removals.get()) == 1 &&
              X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK) == 1;
    if (!set) return error("this host's certificates can't be used: {}", openssl_reason());
    return settings;
}

/// A person is no host: neither a VM's link nor a question to the authority takes his certificate.
int refuse_people(int verified, X509_STORE_CTX* context) {
    X509* certificate = X509_STORE_CTX_get_current_cert(context);
    if (!verified || !certificate || !is_persons(*certificate)) return verified;
    X509_STORE_CTX_set_error(context, X509_V_ERR_APPLICATION_VERIFICATION);
    return 0;
}

/// Whoever asks the authority may be no member yet; whoever asks for anything else must be one.
int choose_protocol(SSL* tls, const unsigned char** chosen, unsigned char* size, const unsigned char* offered,
                    unsigned offered_size, void*) {
    std::string_view offers(reinterpret_cast<const char*>(offered), offered_size);
    for (const Protocol& protocol : kProtocols) {
        if (offers != protocol.name) continue;
        int verify = SSL_VERIFY_PEER;
        if (protocol.purpose == TlsPurpose::kPair) verify |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
        SSL_set_verify(tls, verify, nullptr);
        *chosen = bytes_of(protocol.name) + 1;
        *size = static_cast<unsigned char>(protocol.name.size() - 1);
        return SSL_TLSEXT_ERR_OK;
    }
    return SSL_TLSEXT_ERR_ALERT_FATAL;
}

/// Of what a client of the API offers.
int choose_http(SSL*, const unsigned char** chosen, unsigned char* size, const unsigned char* offered,
                unsigned offered_size, void*) {
    static constexpr std::string_view kHttp = "\x08http/1.1";
    unsigned char* found = nullptr;
    if (SSL_select_next_proto(&found, size, bytes_of(kHttp), kHttp.size(), offered, offered_size) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *chosen = found;
    return SSL_TLSEXT_ERR_OK;
}

/// Takes the authority for the one of the token by its fingerprint, and looks at the rest as ever.
int verify_by_fingerprint(X509_STORE_CTX* context, void* expected) {
    const auto& fingerprint = *static_cast<const Fingerprint*>(expected);
    STACK_OF(X509)* chain = X509_STORE_CTX_get0_untrusted(context);
    for (int i = 0; chain && i < sk_X509_num(chain); ++i) {
        X509* certificate = sk_X509_value(chain, i);
        if (fingerprint_of(*certificate) != fingerprint) continue;
        STACK_OF(X509)* trusted = sk_X509_new_null();
        sk_X509_push(trusted, certificate);
        X509_STORE_CTX_set0_trusted_stack(context, trusted);
        int verified = X509_verify_cert(context);
        sk_X509_free(trusted);
        return verified;
    }
    X509_STORE_CTX_set_error(context, X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY);
    return 0;
}

Result<Tls> session_of(const TlsSettings& settings) {
    Tls tls(SSL_new(settings.get()));
    if (!tls) return error("no TLS session can be made: {}", openssl_reason());
    return tls;
}

Result<Tls> client_of(const TlsSettings& settings, TlsPurpose purpose) {
    Tls tls = TRY(session_of(settings));
    std::string_view protocol = protocol_of(purpose);
    SSL_set_alpn_protos(tls.get(), bytes_of(protocol), static_cast<unsigned>(protocol.size()));
    SSL_set_connect_state(tls.get());
    return tls;
}

std::string verify_sentence(long result) {
    switch (result) {
        case X509_V_ERR_CERT_HAS_EXPIRED:
            return "its certificate has expired; see that its clock is right, and join it anew (`lockstep "
                   "cluster token`)";
        case X509_V_ERR_CERT_NOT_YET_VALID:
            return "its certificate isn't valid yet; see that the clocks of both hosts are right";
        case X509_V_ERR_CERT_REVOKED:
            return "it was removed from the cluster";
        case X509_V_ERR_APPLICATION_VERIFICATION:
            return "its certificate is a person's, which is good for the API alone";
        default:
            return "its certificate is none of this cluster";
    }
}

std::string alert_sentence(int reason) {
    switch (reason) {
        case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
            return "it says that this host's certificate is none of its cluster";
        case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
            return "it says that this host's certificate has expired; see that the clock is right, and join "
                   "the cluster anew";
        case SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED:
            return "it says that this host was removed from the cluster";
        case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED:
        case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
            return "who connects must show a certificate; join the cluster first";
        case SSL_R_WRONG_VERSION_NUMBER:
        case SSL_R_HTTP_REQUEST:
        case SSL_R_UNKNOWN_PROTOCOL:
            return "the other side doesn't speak TLS; was it started with `--insecure`?";
        case SSL_R_UNSUPPORTED_PROTOCOL:
        case SSL_R_TLSV1_ALERT_PROTOCOL_VERSION:
            return "one side speaks an older TLS than 1.3";
        case SSL_R_DECRYPTION_FAILED_OR_BAD_RECORD_MAC:
            return "what came was changed on the way";
        default:
            return "";
    }
}

}  // namespace

Result<Tls> tls_server(const Identity& identity) {
    TlsSettings settings = TRY(member_settings(identity, TLS_server_method()));
    SSL_CTX_set_verify(settings.get(), SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, refuse_people);
    SSL_CTX_set_alpn_select_cb(settings.get(), choose_protocol, nullptr);
    Tls tls = TRY(session_of(settings));
    SSL_set_accept_state(tls.get());
    return tls;
}

Result<Tls> tls_client(const Identity& identity, TlsPurpose purpose) {
    TlsSettings settings = TRY(member_settings(identity, TLS_client_method()));
    SSL_CTX_set_verify(settings.get(), SSL_VERIFY_PEER, nullptr);
    return client_of(settings, purpose);
}

Result<TlsSettings> tls_api_settings(const Identity& identity) {
    TlsSettings settings = TRY(member_settings(identity, TLS_server_method()));
    SSL_CTX_set_verify(settings.get(), SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
    SSL_CTX_set_alpn_select_cb(settings.get(), choose_http, nullptr);
    // A connection that waits for its next request keeps no buffers.
    SSL_CTX_set_mode(settings.get(), SSL_MODE_RELEASE_BUFFERS);
    return settings;
}

Result<Tls> tls_api_server(const TlsSettings& settings) {
    Tls tls = TRY(session_of(settings));
    SSL_set_accept_state(tls.get());
    return tls;
}

Result<Tls> tls_joiner(const Fingerprint& authority) {
    TlsSettings settings = TRY(common_settings(TLS_client_method()));
    SSL_CTX_set_verify(settings.get(), SSL_VERIFY_PEER, nullptr);
    // Lives as long as the settings do, and with them as the session.
    auto* expected = new Fingerprint(authority);
    static const int kIndex = SSL_CTX_get_ex_new_index(
        0, nullptr, nullptr, nullptr,
        [](void*, void* data, CRYPTO_EX_DATA*, int, long, void*) { delete static_cast<Fingerprint*>(data); });
    SSL_CTX_set_ex_data(settings.get(), kIndex, expected);
    SSL_CTX_set_cert_verify_callback(settings.get(), verify_by_fingerprint, expected);
    return client_of(settings, TlsPurpose::kCluster);
}

TlsPurpose purpose_of(SSL& tls) {
    const unsigned char* name = nullptr;
    unsigned size = 0;
    SSL_get0_alpn_selected(&tls, &name, &size);
    std::string_view chosen(reinterpret_cast<const char*>(name), size);
    return chosen == protocol_of(TlsPurpose::kPair).substr(1) ? TlsPurpose::kPair : TlsPurpose::kCluster;
}

std::string peer_name(SSL& tls) {
    X509* certificate = SSL_get0_peer_certificate(&tls);
    return certificate ? name_of(*certificate) : "";
}

std::optional<Role> peer_role(SSL& tls) {
    X509* certificate = SSL_get0_peer_certificate(&tls);
    return certificate ? role_of(*certificate) : std::nullopt;
}

DatagramKeys datagram_keys(SSL& tls) {
    std::array<DatagramKey, 2> keys;  // of the client, of the server
    CHECK(SSL_export_keying_material(&tls, keys[0].data(), sizeof keys, kExportLabel, sizeof kExportLabel - 1,
                                     nullptr, 0, 0) == 1,
          "a TLS session without keys");
    bool serves = SSL_is_server(&tls) == 1;
    return {.sends = keys[serves ? 1 : 0], .receives = keys[serves ? 0 : 1]};
}

std::string sentence_of_tls_failure(SSL& tls) {
    unsigned long code = ERR_peek_error();
    if (ERR_GET_REASON(code) == SSL_R_CERTIFICATE_VERIFY_FAILED) {
        ERR_clear_error();
        return verify_sentence(SSL_get_verify_result(&tls));
    }
    std::string sentence = alert_sentence(ERR_GET_REASON(code));
    std::string reason = openssl_reason();
    return sentence.empty() ? reason : sentence;
}

}  // namespace lockstep::host
