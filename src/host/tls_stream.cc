// SPDX-License-Identifier: Apache-2.0
#include "host/tls_stream.h"

#include <openssl/err.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/check.h"
#include "host/tls_settings.h"

namespace lockstep::host {

namespace {

constexpr size_t kRecord = SSL3_RT_MAX_PLAIN_LENGTH;
constexpr size_t kMostAtOnce = 256 * 1024;  // of plain bytes in one call of the stream below
constexpr size_t kReadAhead = 128 * 1024;

}  // namespace

const BIO_METHOD* TlsStream::bio_method() {
    static const BIO_METHOD* const method = [] {
        BIO_METHOD* made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "lockstep stream");
        BIO_meth_set_read_ex(made, bio_read);
        BIO_meth_set_write_ex(made, bio_write);
        BIO_meth_set_ctrl(made,
                          [](BIO*, int command, long, void*) -> long { return command == BIO_CTRL_FLUSH; });
        return made;
    }();
    return method;
}

int TlsStream::bio_read(BIO* bio, char* out, size_t size, size_t* got) {
    auto* stream = static_cast<TlsStream*>(BIO_get_data(bio));
    BIO_clear_retry_flags(bio);
    long result = -EINTR;
    while (result == -EINTR) result = stream->below_->read({reinterpret_cast<uint8_t*>(out), size});
    if (result == -EAGAIN) BIO_set_retry_read(bio);
    if (result == 0) stream->closed_ = true;
    if (result < 0 && result != -EAGAIN) stream->broken_ = result;
    *got = result > 0 ? static_cast<size_t>(result) : 0;
    return result > 0;
}

int TlsStream::bio_write(BIO* bio, const char* bytes, size_t size, size_t* written) {
    auto* stream = static_cast<TlsStream*>(BIO_get_data(bio));
    BIO_clear_retry_flags(bio);
    // As what it is put into: characters would be put in one by one.
    const auto* begin = reinterpret_cast<const uint8_t*>(bytes);
    stream->encrypted_.insert(stream->encrypted_.end(), begin, begin + size);
    *written = size;
    return 1;
}

TlsStream::TlsStream(std::unique_ptr<ByteStream> below, Tls tls)
    : below_(std::move(below)), tls_(std::move(tls)) {
    BIO* bio = BIO_new(bio_method());
    CHECK(bio, "no memory for a stream");
    BIO_set_data(bio, this);
    BIO_set_init(bio, 1);
    SSL_set_bio(tls_.get(), bio, bio);
    SSL_set_read_ahead(tls_.get(), 1);
    SSL_set_default_read_buffer_len(tls_.get(), kReadAhead);
}

TlsStream::Handshake TlsStream::shake_hands() {
    ERR_clear_error();
    int result = SSL_do_handshake(tls_.get());
    long flushed = flush();  // an alert, too
    if (result != 1 && SSL_get_error(tls_.get(), result) != SSL_ERROR_WANT_READ) return Handshake::kFailed;
    if (flushed == -EAGAIN) return Handshake::kWantsWrite;
    if (flushed < 0) return Handshake::kFailed;
    if (result != 1) return Handshake::kWantsRead;
    holds_more_ = true;  // the other side's first words may have come with the end of the handshake
    return Handshake::kDone;
}

/// As ByteStream::read() returns it.
long TlsStream::failure(int result) {
    int why = SSL_get_error(tls_.get(), result);
    if (why == SSL_ERROR_WANT_READ) return -EAGAIN;
    if (broken_ != 0) return broken_;
    if (why == SSL_ERROR_ZERO_RETURN || closed_) return 0;
    why_ = sentence_of_tls_failure(*tls_);
    return -EBADMSG;
}

std::string TlsStream::explain(int error_number) const {
    return error_number == EBADMSG && !why_.empty() ? why_ : ByteStream::explain(error_number);
}

long TlsStream::read(std::span<uint8_t> out) {
    size_t total = 0;
    holds_more_ = false;
    while (total < out.size()) {
        size_t got = 0;
        ERR_clear_error();
        int result = SSL_read_ex(tls_.get(), out.data() + total, out.size() - total, &got);
        if (result != 1) {
            if (!encrypted_.empty()) flush();  // an answer to a change of keys
            return total > 0 ? static_cast<long>(total) : failure(result);
        }
        total += got;
    }
    holds_more_ = true;
    return static_cast<long>(total);
}

void TlsStream::expect(size_t bytes) {
    // A part of a record may have come already.
    below_->expect(bytes > 2 * kRecord ? bytes - 2 * kRecord : 1);
}

long TlsStream::write(std::span<const ByteSpan> parts) {
    size_t done = 0;
    for (;;) {
        long flushed = flush();
        if (flushed < 0) return done > 0 ? static_cast<long>(done) : flushed;
        done += std::exchange(unreported_, 0);
        unreported_ = encrypt(parts, done);
        if (unreported_ == 0) return static_cast<long>(done);
    }
}

size_t TlsStream::encrypt(std::span<const ByteSpan> parts, size_t from) {
    size_t total = 0;
    for (ByteSpan part : parts) {
        size_t skipped = std::min(from, part.size());
        from -= skipped;
        part = part.subspan(skipped).first(std::min(part.size() - skipped, kMostAtOnce - total));
        total += part.size();
        if (gathered_.empty() && part.size() >= kRecord) {
            encrypt_some(part);
            continue;
        }
        while (!part.empty()) {
            ByteSpan fits = part.first(std::min(part.size(), kRecord - gathered_.size()));
            gathered_.insert(gathered_.end(), fits.begin(), fits.end());
            part = part.subspan(fits.size());
            if (gathered_.size() == kRecord) encrypt_gathered();
        }
    }
    encrypt_gathered();
    return total;
}

void TlsStream::encrypt_gathered() {
    if (!gathered_.empty()) encrypt_some(gathered_);
    gathered_.clear();
}

void TlsStream::encrypt_some(ByteSpan bytes) {
    size_t written = 0;
    ERR_clear_error();
    int result = SSL_write_ex(tls_.get(), bytes.data(), bytes.size(), &written);
    // Nothing below it can refuse, so it fails only where the session has failed before.
    if (result != 1 || written != bytes.size()) broken_ = broken_ ? broken_ : -EBADMSG;
}

long TlsStream::flush() {
    if (broken_ != 0) return broken_;
    while (flushed_ < encrypted_.size()) {
        ByteSpan rest = ByteSpan(encrypted_).subspan(flushed_);
        long sent = below_->write({&rest, 1});
        if (sent == -EINTR) continue;
        if (sent < 0) return sent;
        flushed_ += static_cast<size_t>(sent);
    }
    encrypted_.clear();
    flushed_ = 0;
    return 1;
}

}  // namespace lockstep::host
