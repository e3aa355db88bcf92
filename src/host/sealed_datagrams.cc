// SPDX-License-Identifier: Apache-2.0
#include "host/sealed_datagrams.h"

#include <cstring>

#include "base/check.h"

namespace lockstep::host {

namespace {

constexpr size_t kNumberSize = 8, kTagSize = 16, kNonceSize = 12;
constexpr unsigned kKindShift = 62;  // of a number
constexpr uint64_t kWindow = 64;     // how far datagrams may overtake each other

std::array<uint8_t, kNonceSize> nonce_of(uint64_t number) {
    std::array<uint8_t, kNonceSize> nonce{};
    std::memcpy(nonce.data() + kNonceSize - sizeof number, &number, sizeof number);
    return nonce;
}

Cipher make_cipher(const DatagramKey& key, int encrypts) {
    Cipher cipher(EVP_CIPHER_CTX_new());
    CHECK(cipher &&
          EVP_CipherInit_ex(cipher.get(), EVP_aes_256_gcm(), nullptr, key.data(), nullptr, encrypts));
    return cipher;
}

}  // namespace

DatagramSealer::DatagramSealer(const DatagramKey& key) : cipher_(make_cipher(key, 1)) {}

Bytes DatagramSealer::seal(ByteSpan content, Words words) {
    auto kind = static_cast<uint64_t>(words);
    uint64_t number = kind << kKindShift | next_[kind]++;
    Bytes sealed(kNumberSize + content.size() + kTagSize);
    std::memcpy(sealed.data(), &number, kNumberSize);
    int size = 0, rest = 0;
    bool done = EVP_EncryptInit_ex(cipher_.get(), nullptr, nullptr, nullptr, nonce_of(number).data()) &&
                EVP_EncryptUpdate(cipher_.get(), nullptr, &size, sealed.data(), kNumberSize) &&
                EVP_EncryptUpdate(cipher_.get(), sealed.data() + kNumberSize, &size, content.data(),
                                  static_cast<int>(content.size())) &&
                EVP_EncryptFinal_ex(cipher_.get(), sealed.data() + kNumberSize + size, &rest) &&
                EVP_CIPHER_CTX_ctrl(cipher_.get(), EVP_CTRL_GCM_GET_TAG, kTagSize,
                                    sealed.data() + kNumberSize + content.size());
    CHECK(done, "AES-GCM must be able to encrypt");
    return sealed;
}

DatagramOpener::DatagramOpener(const DatagramKey& key) : cipher_(make_cipher(key, 0)) {}

std::optional<Bytes> DatagramOpener::open(ByteSpan datagram) {
    std::optional<Bytes> content = decrypt(datagram);
    uint64_t number = 0;
    if (content) std::memcpy(&number, datagram.data(), kNumberSize);
    uint64_t kind = number >> kKindShift;
    if (!content || kind >= kWordsKinds) {
        ++ignored_.forged;
        return std::nullopt;
    }
    if (is_new(windows_[kind], number & ((uint64_t{1} << kKindShift) - 1))) return content;
    ++ignored_.repeated;
    return std::nullopt;
}

std::optional<Bytes> DatagramOpener::decrypt(ByteSpan datagram) {
    if (datagram.size() < kSealSize) return std::nullopt;
    uint64_t number;
    std::memcpy(&number, datagram.data(), kNumberSize);
    ByteSpan encrypted = datagram.subspan(kNumberSize, datagram.size() - kSealSize);
    ByteSpan tag = datagram.last(kTagSize);
    Bytes content(encrypted.size() + 1);  // OpenSSL takes no null pointer for an empty one
    int size = 0, rest = 0;
    bool good = EVP_DecryptInit_ex(cipher_.get(), nullptr, nullptr, nullptr, nonce_of(number).data()) &&
                EVP_DecryptUpdate(cipher_.get(), nullptr, &size, datagram.data(), kNumberSize) &&
                EVP_DecryptUpdate(cipher_.get(), content.data(), &size, encrypted.data(),
                                  static_cast<int>(encrypted.size())) &&
                EVP_CIPHER_CTX_ctrl(cipher_.get(), EVP_CTRL_GCM_SET_TAG, kTagSize,
                                    const_cast<uint8_t*>(tag.data())) &&
                EVP_DecryptFinal_ex(cipher_.get(), content.data() + size, &rest) > 0;
    if (!good) return std::nullopt;
    content.pop_back();
    return content;
}

/// Asked only of what the other side has made.
bool DatagramOpener::is_new(Window& window, uint64_t number) {
    if (number >= window.end) {
        uint64_t ahead = number - window.end + 1;
        window.seen = ahead < kWindow ? window.seen << ahead | 1 : 1;
        window.end = number + 1;
        return true;
    }
    uint64_t behind = window.end - 1 - number;
    if (behind >= kWindow || (window.seen >> behind & 1)) return false;
    window.seen |= uint64_t{1} << behind;
    return true;
}

}  // namespace lockstep::host
