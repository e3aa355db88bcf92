// SPDX-License-Identifier: Apache-2.0
// Errors as values. An Error is one sentence for a person: it names the thing and the remedy.
#pragma once

#include <fmt/format.h>

#include <optional>
#include <string>
#include <utility>
#include <variant>

namespace lockstep {

class Error {
  public:
    explicit Error(std::string message) : message_(std::move(message)) {}
    const std::string& message() const { return message_; }

  private:
    std::string message_;
};

/// Makes an Error from a format string.
template <typename... Args>
Error error(fmt::format_string<Args...> format, Args&&... args) {
    return Error(fmt::format(format, std::forward<Args>(args)...));
}

/// A T or an Error.
template <typename T>
class [[nodiscard]] Result {
  public:
    Result(T value) : content_(std::in_place_index<0>, std::move(value)) {}
    Result(Error error) : content_(std::in_place_index<1>, std::move(error)) {}

    bool ok() const { return content_.index() == 0; }
    explicit operator bool() const { return ok(); }
    T& value() { return std::get<0>(content_); }
    const T& value() const { return std::get<0>(content_); }
    T take() { return std::move(std::get<0>(content_)); }
    const Error& error() const { return std::get<1>(content_); }
    Error take_error() { return std::move(std::get<1>(content_)); }

  private:
    std::variant<T, Error> content_;
};

/// Success without a value, or an Error.
template <>
class [[nodiscard]] Result<void> {
  public:
    Result() = default;
    Result(Error error) : error_(std::move(error)) {}

    bool ok() const { return !error_; }
    explicit operator bool() const { return ok(); }
    void take() {}
    const Error& error() const { return *error_; }
    Error take_error() { return std::move(*error_); }

  private:
    std::optional<Error> error_;
};

}  // namespace lockstep

/// Evaluates to the value of a Result, or returns its Error from the calling function.
#define TRY(expression)                                         \
    ({                                                          \
        auto try_result_ = (expression);                        \
        if (!try_result_.ok()) return try_result_.take_error(); \
        try_result_.take();                                     \
    })
