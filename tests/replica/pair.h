// SPDX-License-Identifier: Apache-2.0
// Two replicas joined by hand, for tests that want to decide what arrives and when.
#pragma once

#include <gtest/gtest.h>

#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "replica/replica.h"

namespace lockstep::replica {

inline constexpr uint64_t kPrimaryId = 11;
inline constexpr uint64_t kBackupId = 22;

Config config_of(uint64_t self);

/// A replica and what it has wanted done so far.
struct Side {
    Side(Replica the_replica) : replica(std::move(the_replica)) {}

    /// Takes the actions: messages go to `channel` and `datagrams`, all others are kept in `done`.
    void collect();
    /// The last action of this type, or nothing.
    template <typename T>
    const T* last() const {
        for (auto it = done.rbegin(); it != done.rend(); ++it)
            if (const T* action = std::get_if<T>(&*it)) return action;
        return nullptr;
    }
    template <typename T>
    size_t count() const {
        size_t n = 0;
        for (const Action& action : done) n += std::holds_alternative<T>(action);
        return n;
    }
    /// Whether a sentence with this text was said.
    bool said(const std::string& text) const;
    /// Forgets what was done.
    void forget() { done.clear(); }
    State state() const { return replica.state(); }

    Replica replica;
    std::vector<Bytes> channel;    ///< sent, not delivered
    std::vector<Bytes> datagrams;  ///< sent, not delivered
    std::vector<Action> done;
};

/// A primary, a backup, and the time. Channel and datagrams are carried in run() unless they are cut.
class Pair {
  public:
    Pair();

    /// Brings both to kProtected and kReplaying, with `entries` entries before the copy.
    void protect(uint64_t entries = 0);
    // Parts of that, once they are connected: the machine is made; a page, the cut and the state; the rest.
    void make_machine();
    void cut_copy();
    void end_copy();
    /// A piece of the copy.
    void give(ClonePart part, Bytes bytes);
    /// Lets time pass in steps of 10 ms; both are ticked (those that are not stopped) and messages are
    /// carried.
    void run(uint64_t ms);
    /// Carries what has been sent, without letting time pass.
    void carry();
    /// The primary's guest makes an output; returns its entry.
    LogPos output();
    /// The primary's guest makes an entry of this kind.
    LogPos entry(record::EntryKind kind);
    void flush() { primary.replica.on_flush(now, icount), primary.collect(); }
    /// The backup's guest has executed everything.
    void replay_all();
    /// Both ends see the channel close.
    void close(ChannelEnd primary_sees, ChannelEnd backup_sees);

    uint64_t now = 1'000'000;
    Icount icount{100};
    Side primary, backup;
    bool channel_cut = false, datagrams_cut = false;
    bool primary_stopped = false, backup_stopped = false;
    uint64_t delay_ms = 0;  ///< what a message takes, each way; run() alone knows of it

  private:
    struct UnderWay {
        uint64_t due_ms;
        Side& to;
        bool is_channel;
        Bytes bytes;
    };
    void carry_slowly();
    std::deque<UnderWay> under_way_;
};

}  // namespace lockstep::replica
