// SPDX-License-Identifier: Apache-2.0
// What the three loads have in common: a thread that works until told to stop, and figures that can be read
// meanwhile.
#pragma once

#include <atomic>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>

#include "load_client/connection.h"
#include "load_client/gap_recorder.h"

namespace lockstep::load_client {

/// Where the guest is, and how patient the client.
struct Target {
    std::string host;
    unsigned stall_seconds = 60;  ///< silence after which a connection counts as lost
    unsigned wait_seconds = 60;   ///< how long a service may take to answer for the first time
};

/// One kind of work against one service of the guest.
class Load {
  public:
    Load(std::string name, const Target& target, uint16_t port, unsigned pause_us);
    virtual ~Load();
    Load(const Load&) = delete;
    Load& operator=(const Load&) = delete;

    /// Begins to work in a thread of its own. Derived classes are complete by then and call stop() in their
    /// destructor.
    void start();
    /// Ends the work after the operation that is under way, and checks what can only be checked at the end.
    void stop();

    const std::string& name() const { return name_; }
    GapRecorder& gaps() { return gaps_; }
    const GapRecorder& gaps() const { return gaps_; }

    /// Connections that ended before the client ended them, or that could not be made.
    uint64_t connections_lost() const { return connections_lost_; }
    /// Answers, writes or bytes that were lost, repeated or wrong.
    uint64_t wrong() const { return wrong_; }
    nlohmann::json report() const;

  protected:
    /// Works on one connection until stopping() or an error, which counts as a lost connection.
    virtual Result<void> work(Connection& connection) = 0;
    /// The checks at the end, on a connection of their own.
    virtual Result<void> verify(Connection&) { return {}; }

    bool stopping() const { return stopping_; }
    /// One operation has ended well: a request answered, a write acknowledged, a download complete.
    void count_operation(uint64_t bytes);
    /// Something was not as it must be: counts it, and says so on standard error.
    void count_wrong(uint64_t amount, const std::string& what);
    /// Counts the connection's end and says why.
    void count_lost(const std::string& why);
    /// Waits between two operations, so that the load is a steady one.
    void pace();
    Result<Connection> connect() { return Connection::open(target_.host, port_, target_.stall_seconds); }

  private:
    void run();

    std::string name_;
    Target target_;
    uint16_t port_;
    unsigned pause_us_;
    GapRecorder gaps_;
    std::atomic<bool> stopping_ = false;
    std::atomic<uint64_t> operations_ = 0;
    std::atomic<uint64_t> bytes_ = 0;
    std::atomic<uint64_t> connections_lost_ = 0;
    std::atomic<uint64_t> wrong_ = 0;
    Clock::time_point started_;
    std::thread thread_;
};

}  // namespace lockstep::load_client
