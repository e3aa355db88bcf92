// SPDX-License-Identifier: Apache-2.0
// OpenSSL's objects with owners, and its errors as sentences.
#pragma once

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <memory>
#include <string>

#include "base/bytes.h"
#include "base/result.h"

namespace lockstep::host {

template <auto kFree>
struct OpenSslFree {
    template <typename T>
    void operator()(T* object) const {
        kFree(object);
    }
};

using Certificate = std::unique_ptr<X509, OpenSslFree<X509_free>>;
using CertificateRequest = std::unique_ptr<X509_REQ, OpenSslFree<X509_REQ_free>>;
using RevocationList = std::unique_ptr<X509_CRL, OpenSslFree<X509_CRL_free>>;
using Key = std::unique_ptr<EVP_PKEY, OpenSslFree<EVP_PKEY_free>>;
using Bio = std::unique_ptr<BIO, OpenSslFree<BIO_free>>;
using Tls = std::unique_ptr<SSL, OpenSslFree<SSL_free>>;
using TlsSettings = std::unique_ptr<SSL_CTX, OpenSslFree<SSL_CTX_free>>;

/// What OpenSSL says of its oldest error, of which it then keeps none.
std::string openssl_reason();

inline Bio bio_over(ByteSpan bytes) {
    return Bio(BIO_new_mem_buf(bytes.data(), static_cast<int>(bytes.size())));
}
Bytes bytes_in(BIO& bio);

}  // namespace lockstep::host
