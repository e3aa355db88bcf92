// SPDX-License-Identifier: Apache-2.0
// Downloads over HTTP in a loop, every byte checked.
#pragma once

#include "load_client/load.h"

namespace lockstep::load_client {

/// A file of the guest's web server, with known content (see tools/guest/content.h).
struct WebFile {
    std::string path;
    uint64_t seed;
    uint64_t size;
};

/// Fetches one file again and again, each time on a new connection.
class HttpLoad : public Load {
  public:
    HttpLoad(const Target& target, uint16_t port, unsigned pause_us, WebFile file);
    ~HttpLoad() override { stop(); }

  protected:
    Result<void> work(Connection& connection) override;

  private:
    /// Number of bytes that differ from the file's content at `offset`.
    uint64_t wrong_bytes(std::string_view bytes, uint64_t offset) const;

    WebFile file_;
    std::string request_;
};

}  // namespace lockstep::load_client
