// SPDX-License-Identifier: Apache-2.0
/* Work for libcrypto, a fixed amount of it: crypto sha256 MIB | crypto rsa SIGNATURES KEY_FILE. Prints a checksum. */
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { kMebibyte = 1 << 20 };

static void require(int good, const char *what) {
    if (good) return;
    fprintf(stderr, "crypto: %s failed\n", what);
    exit(1);
}

static void print_start(const unsigned char *bytes) {
    for (int i = 0; i < 8; i++) printf("%02x", bytes[i]);
    printf("\n");
}

static void sha256(long mebibytes) {
    unsigned char *data = malloc(kMebibyte), digest[EVP_MAX_MD_SIZE];
    require(data != NULL, "malloc");
    for (int i = 0; i < kMebibyte; i++) data[i] = (unsigned char)(i * 31 + (i >> 9));
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    require(EVP_DigestInit_ex(context, EVP_sha256(), NULL), "EVP_DigestInit_ex");
    for (long i = 0; i < mebibytes; i++) require(EVP_DigestUpdate(context, data, kMebibyte), "EVP_DigestUpdate");
    require(EVP_DigestFinal_ex(context, digest, NULL), "EVP_DigestFinal_ex");
    print_start(digest);
}

static void rsa(long signatures, const char *key_file) {
    FILE *file = fopen(key_file, "r");
    require(file != NULL, "opening the key");
    EVP_PKEY *key = PEM_read_PrivateKey(file, NULL, NULL, NULL);
    require(key != NULL, "reading the key");
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(key, NULL);
    require(EVP_PKEY_sign_init(context) > 0, "EVP_PKEY_sign_init");
    unsigned char digest[32] = "a message of thirty-two bytes..", signature[1024];
    for (long i = 0; i < signatures; i++) {
        size_t size = sizeof signature;
        require(EVP_PKEY_sign(context, signature, &size, digest, sizeof digest) > 0, "EVP_PKEY_sign");
        memcpy(digest, signature, sizeof digest);
    }
    print_start(signature);
}

int main(int argc, char **argv) {
    if (argc == 3 && !strcmp(argv[1], "sha256")) {
        sha256(atol(argv[2]));
    } else if (argc == 4 && !strcmp(argv[1], "rsa")) {
        rsa(atol(argv[2]), argv[3]);
    } else {
        fprintf(stderr, "crypto sha256 MIB | crypto rsa SIGNATURES KEY_FILE\n");
        return 2;
    }
    return 0;
}
