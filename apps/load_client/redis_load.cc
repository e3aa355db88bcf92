// SPDX-License-Identifier: Apache-2.0
#include "load_client/redis_load.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <vector>

namespace lockstep::load_client {
namespace {

/// A command in the Redis protocol (RESP): an array of bulk strings.
std::string command(const std::vector<std::string>& words) {
    std::string text = fmt::format("*{}\r\n", words.size());
    for (const std::string& word : words) text += fmt::format("${}\r\n{}\r\n", word.size(), word);
    return text;
}

Result<int64_t> parse_number(std::string_view text) {
    int64_t number = 0;
    auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (failure != std::errc() || end != text.data() + text.size()) return error("'{}' is no number", text);
    return number;
}

/// A reply as text: status, number and bulk string as they are, nil as "", an array's elements separated by
/// blanks.
Result<std::string> read_reply(Connection& connection) {
    std::string line = TRY(connection.read_line());
    if (line.empty()) return error("Redis sent an empty line");
    std::string rest = line.substr(1);
    switch (line[0]) {
        case '+':
        case ':':
            return rest;
        case '$': {
            int64_t size = TRY(parse_number(rest));
            if (size < 0) return std::string();
            std::string bytes = TRY(connection.read_exactly(static_cast<size_t>(size) + 2));
            bytes.resize(static_cast<size_t>(size));
            return bytes;
        }
        case '*': {
            std::string all;
            int64_t count = TRY(parse_number(rest));
            for (int64_t i = 0; i < count; i++) all += (i ? " " : "") + TRY(read_reply(connection));
            return all;
        }
        default:
            return error("Redis answered '{}'", line);
    }
}

/// The value of write `number`: its number and some bytes that follow from it.
std::string value_of(uint64_t number) {
    uint64_t x = number * 0x9e3779b97f4a7c15u;
    return fmt::format("{}:{:016x}{:016x}{:016x}", number, x, x * x, x ^ (x >> 31));
}

}  // namespace

RedisLoad::RedisLoad(const Target& target, uint16_t port, unsigned pause_us, uint64_t keys)
    : Load("redis", target, port, pause_us),
      keys_(keys),
      prefix_(fmt::format("load-{}-{}", getpid(), Clock::now().time_since_epoch().count())) {}

std::string RedisLoad::key(uint64_t slot) const { return fmt::format("{}:{}", prefix_, slot); }

Result<void> RedisLoad::work(Connection& connection) {
    if (number_ > 0) TRY(check_counter(connection));
    constexpr uint64_t kReadEvery = 16;
    while (!stopping()) {
        if (Result<void> written = write_once(connection); !written) return written;
        uint64_t slot = number_ * 7919 % keys_;
        if (number_ % kReadEvery == 0)
            if (Result<void> read = check_keys(connection, {&slot, 1}); !read) return read;
        pace();
    }
    return {};
}

Result<void> RedisLoad::write_once(Connection& connection) {
    uint64_t slot = ++number_ * 2654435761u % keys_;
    Value& value = values_[slot];
    value.attempted = number_;
    std::string text = command({"MULTI"}) + command({"SET", key(slot), value_of(number_)}) +
                       command({"INCR", prefix_ + "-count"}) + command({"EXEC"});
    gaps().asks();
    if (Result<void> sent = connection.write(text); !sent) return sent;
    for (int queued = 0; queued < 3; queued++) TRY(read_reply(connection));
    std::string reply = TRY(read_reply(connection));
    gaps().event(connection.resent());
    std::string expected = fmt::format("OK {}", count_ + 1);
    if (reply != expected) {
        count_wrong(1,
                    fmt::format("write {} was answered '{}' where '{}' was due", number_, reply, expected));
        return error("out of step with the server");
    }
    count_++;
    value = {number_, 0};
    count_operation(text.size());
    return {};
}

Result<void> RedisLoad::check_keys(Connection& connection, std::span<const uint64_t> slots) {
    std::string text;
    for (uint64_t slot : slots) text += command({"GET", key(slot)});
    gaps().asks();
    if (Result<void> sent = connection.write(text); !sent) return sent;
    for (uint64_t slot : slots) check_value(slot, TRY(read_reply(connection)));
    gaps().event(connection.resent());
    return {};
}

void RedisLoad::check_value(uint64_t slot, const std::string& found) {
    Value& value = values_[slot];
    if (value.attempted != 0 && found == value_of(value.attempted)) {
        value = {value.attempted, 0};
        return;
    }
    std::string expected = value.acknowledged != 0 ? value_of(value.acknowledged) : "";
    if (found != expected)
        count_wrong(1, fmt::format("{} holds '{}' where '{}' was acknowledged", key(slot), found, expected));
}

Result<void> RedisLoad::check_counter(Connection& connection) {
    if (Result<void> sent = connection.write(command({"GET", prefix_ + "-count"})); !sent) return sent;
    std::string reply = TRY(read_reply(connection));
    uint64_t count = reply.empty() ? 0 : static_cast<uint64_t>(TRY(parse_number(reply)));
    if (count < count_) count_wrong(count_ - count, fmt::format("counter {} after {} writes", count, count_));
    if (count > number_)
        count_wrong(count - number_, fmt::format("counter {} after {} attempts", count, number_));
    count_ = count;
    return {};
}

Result<void> RedisLoad::verify(Connection& connection) {
    constexpr size_t kBatch = 100;
    std::vector<uint64_t> slots;
    for (const auto& [slot, value] : values_) slots.push_back(slot);
    for (size_t i = 0; i < slots.size(); i += kBatch) {
        std::span<const uint64_t> batch = std::span(slots).subspan(i, std::min(kBatch, slots.size() - i));
        if (Result<void> checked = check_keys(connection, batch); !checked) return checked;
    }
    return check_counter(connection);
}

}  // namespace lockstep::load_client
