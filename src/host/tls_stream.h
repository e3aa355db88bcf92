// SPDX-License-Identifier: Apache-2.0
// A ByteStream that is encrypted by TLS, over one that isn't.
//
// OpenSSL reads from the stream below straight into its own buffer, of which it decrypts into the reader's. What is written
// becomes records in one buffer, which goes down by one call. Bytes count as written once the stream below has all of their
// record: until then the writer keeps them and offers them again, as ByteStream says, and they aren't encrypted twice.
#pragma once

#include "host/channel.h"
#include "host/openssl.h"

namespace lockstep::host {

class TlsStream final : public ByteStream {
  public:
    /// `tls`: new, with the role that this side has.
    TlsStream(std::unique_ptr<ByteStream> below, Tls tls);

    enum class Handshake : uint8_t { kDone, kWantsRead, kWantsWrite, kFailed };
    /// Goes on with the handshake; to be called again when the descriptor is ready for that.
    Handshake shake_hands();
    /// Whether the stream below has ended.
    bool is_closed_below() const { return closed_; }
    SSL& tls() { return *tls_; }

    long read(std::span<uint8_t> out) override;
    long write(std::span<const ByteSpan> parts) override;
    int descriptor() const override { return below_->descriptor(); }
    void expect(size_t bytes) override;
    bool may_hold_more() const override { return holds_more_; }
    std::string explain(int error_number) const override;

  private:
    static const BIO_METHOD* bio_method();
    static int bio_read(BIO* bio, char* out, size_t size, size_t* got);
    static int bio_write(BIO* bio, const char* bytes, size_t size, size_t* written);

    long failure(int result);
    /// Of `parts`, beginning with byte `from`; how many bytes were encrypted.
    size_t encrypt(std::span<const ByteSpan> parts, size_t from);
    void encrypt_some(ByteSpan bytes);
    void encrypt_gathered();
    long flush();

    std::unique_ptr<ByteStream> below_;
    Tls tls_;
    bool closed_ = false;  ///< the stream below has ended
    long broken_ = 0;      ///< by this errno, negative
    std::string why_;      ///< what TLS has against what came
    bool holds_more_ = false;
    Bytes encrypted_;        ///< records for the stream below
    size_t flushed_ = 0;     ///< bytes of them that it has
    size_t unreported_ = 0;  ///< plain bytes in them, which the writer will offer again
    Bytes gathered_;         ///< small parts, to become one record
};

}  // namespace lockstep::host
