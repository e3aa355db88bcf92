// SPDX-License-Identifier: Apache-2.0
// Reads requests out of a connection's bytes; knows no socket. What is longer than makes sense is refused.
#pragma once

#include <memory>
#include <optional>

#include "api/http.h"

namespace lockstep::api {

class HttpReader {
  public:
    static constexpr size_t kMostHeaderBytes = 8 << 10;
    static constexpr size_t kMostBodyBytes = 64 << 10;

    HttpReader();
    ~HttpReader();

    void add(ByteSpan bytes) { input_.append(bytes.begin(), bytes.end()); }

    struct Outcome {
        std::optional<Request> request = {};  ///< none, and no problem: bytes are missing
        Json problem = nullptr;               ///< nothing more can be read
    };
    /// The next request, once it is whole.
    Outcome next();
    /// Whether a part of a request is here.
    bool has_begun() const { return has_begun_ || !input_.empty(); }
    /// What came behind the last request.
    std::string take_rest() { return std::move(input_); }

  private:
    struct Parser;

    std::unique_ptr<Parser> parser_;
    std::string input_;
    bool has_begun_ = false;
    bool is_broken_ = false;
};

}  // namespace lockstep::api
