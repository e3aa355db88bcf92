// SPDX-License-Identifier: Apache-2.0
// Writes to Redis, every acknowledged one remembered and read back.
#pragma once

#include <span>
#include <unordered_map>

#include "load_client/load.h"

namespace lockstep::load_client {

/// Each write sets one of `keys` keys to a new value and counts up a counter in the same transaction. The
/// counter must come back exactly one higher each time, a key read now and then must hold its last
/// acknowledged value, and at the end every key and the counter are read back.
class RedisLoad : public Load {
  public:
    RedisLoad(const Target& target, uint16_t port, unsigned pause_us, uint64_t keys);
    ~RedisLoad() override { stop(); }

  protected:
    Result<void> work(Connection& connection) override;
    Result<void> verify(Connection& connection) override;

  private:
    struct Value {
        uint64_t acknowledged = 0;  ///< number of the last acknowledged write
        uint64_t attempted = 0;     ///< number of a write whose answer never came, which may have been done
    };

    std::string key(uint64_t slot) const;
    Result<void> write_once(Connection& connection);
    /// Reads keys back, in one go, and compares.
    Result<void> check_keys(Connection& connection, std::span<const uint64_t> slots);
    void check_value(uint64_t slot, const std::string& found);
    /// After a lost connection the write under way may have been done or not.
    Result<void> check_counter(Connection& connection);

    uint64_t keys_;
    std::string prefix_;
    uint64_t number_ = 0;  ///< of the last write that was tried
    uint64_t count_ = 0;   ///< the counter's value as acknowledged
    std::unordered_map<uint64_t, Value> values_;
};

}  // namespace lockstep::load_client
