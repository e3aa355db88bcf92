// SPDX-License-Identifier: Apache-2.0
// Serves gdb's remote protocol: one gdb, one thread, a recording's machine. It is read only: what gdb would change it is
// refused, since a recording goes on as it went.
//
//     "g" "p" "m"          registers and memory of the place where it stands
//     "Z" "z"              breakpoints and watchpoints, nothing of which lies in the guest's memory
//     "c" "s" "bc" "bs"    on and back; Ctrl-C ends what takes long
//     "qRcmd"              monitor commands (monitor.h)
#pragma once

#include <string>
#include <string_view>

#include "debug/gdb_wire.h"
#include "debug/monitor.h"
#include "debug/timeline.h"
#include "host/file_descriptor.h"

namespace lockstep::debug {

/// Where bytes of gdb's come from and go to: a socket, or a pair of pipes.
struct GdbLine {
    int in = -1;
    int out = -1;
};

class GdbServer {
  public:
    GdbServer(Timeline& timeline, Monitor& monitor, GdbLine line);

    enum class End : uint8_t {
        kLeft,    ///< gdb has detached, or is gone
        kKilled,  ///< it wants nothing of the recording any more
    };
    /// Until gdb leaves. Fails where the machine's process has died.
    Result<End> serve();

  private:
    bool read_more();
    void send(std::string_view text);
    Result<void> handle(std::string_view packet);
    /// The packets that ask and that set; empty: gdb takes the command for unknown.
    Result<std::string> answer(std::string_view packet);
    Result<std::string> query(std::string_view packet);
    Result<std::string> memory(std::string_view arguments);
    Result<std::string> monitor(std::string_view hex);
    std::string set_stop(std::string_view arguments, bool wanted);
    std::string description(std::string_view arguments) const;
    Result<std::string> moved(Result<Arrival> arrival);
    std::string stop_reply(const Arrival& arrival, const cpu::CpuState& processor) const;
    /// A stop, and the number of its kind in the protocol.
    struct Wanted {
        Stop stop;
        uint64_t type = 0;
    };
    Stops stops() const;
    const Wanted* wanted_at(const Stop& stop) const;

    Timeline& timeline_;
    Monitor& monitor_;
    GdbLine line_;
    GdbReader reader_;
    std::vector<Wanted> wanted_;
    std::string last_sent_;
    bool acknowledges_ = true;
    bool gone_ = false;
    std::optional<End> end_;
};

}  // namespace lockstep::debug
