// SPDX-License-Identifier: Apache-2.0
#include "host/openssl.h"

#include <openssl/err.h>

namespace lockstep::host {

std::string openssl_reason() {
    const char* reason = ERR_reason_error_string(ERR_get_error());
    ERR_clear_error();
    return reason ? reason : "no reason is known";
}

Bytes bytes_in(BIO& bio) {
    char* data = nullptr;
    long size = BIO_get_mem_data(&bio, &data);
    return Bytes(data, data + size);
}

}  // namespace lockstep::host
