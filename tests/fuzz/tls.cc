// SPDX-License-Identifier: Apache-2.0
// What those who connect send in place of a handshake. A true hello stands in front of each second input, so that its changes
// reach what lies behind the first look.
#include <cerrno>

#include "host/tls_settings.h"
#include "host/tls_stream.h"
#include "target.h"

namespace {

using namespace lockstep;

/// Gives what it was given, and takes whatever comes.
class Script final : public host::ByteStream {
  public:
    explicit Script(Bytes input) : input_(std::move(input)) {}
    long read(std::span<uint8_t> out) override {
        if (at_ == input_.size()) return 0;
        size_t size = std::min(out.size(), input_.size() - at_);
        std::copy_n(input_.begin() + static_cast<ptrdiff_t>(at_), size, out.begin());
        at_ += size;
        return static_cast<long>(size);
    }
    long write(std::span<const ByteSpan> parts) override {
        long size = 0;
        for (ByteSpan part : parts) {
            size += static_cast<long>(part.size());
            written.insert(written.end(), part.begin(), part.end());
        }
        return size;
    }
    int descriptor() const override { return -1; }
    void expect(size_t) override {}
    Bytes written;

  private:
    Bytes input_;
    size_t at_ = 0;
};

const host::Identity& identity() {
    static const host::Identity made = [] {
        host::Authority authority = host::make_authority("fuzz", 1'700'000'000).take();
        host::Identity own;
        own.key = host::make_key().take();
        own.own = host::sign_host(authority, *own.key, "host", {1'700'000'000, 4'000'000'000}).take();
        own.authority = std::move(authority.certificate);
        return own;
    }();
    return made;
}

const Bytes& hello() {
    static const Bytes made = [] {
        auto script = std::make_unique<Script>(Bytes{});
        Script* raw = script.get();
        host::TlsStream client(std::move(script),
                               host::tls_client(identity(), host::TlsPurpose::kPair).take());
        (void)client.shake_hands();
        return raw->written;
    }();
    return made;
}

void serve(Bytes input) {
    host::TlsStream server(std::make_unique<Script>(std::move(input)), host::tls_server(identity()).take());
    CHECK(server.shake_hands() != host::TlsStream::Handshake::kDone, "hands were shaken with nobody");
    (void)host::sentence_of_tls_failure(server.tls());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    serve(Bytes(data, data + size));
    // Each three bytes change one of a true hello: where, and how.
    Bytes changed = hello();
    for (size_t i = 0; i + 2 < size && i < 48; i += 3)
        changed[(data[i] << 8 | data[i + 1]) % changed.size()] ^= data[i + 2];
    changed.insert(changed.end(), data, data + size);
    serve(std::move(changed));
    return 0;
}
