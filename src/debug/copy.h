// SPDX-License-Identifier: Apache-2.0
// A recording's machine at some place of it, in a process of its own.
//
// A fork of that process is a second machine at the same place: exact, TLB included, and cheap, since the host copies
// a page of memory when one of the two writes to it. So machines that were left behind at earlier places are how a
// debugger goes back.
//
//     this process            a socket            the machine's process
//     Copy  ---- request ------------------------>  serve(): does it with its Cursor
//           <--- reply -------------------------
//           ---- request kFork, with an end of a new socket --> its child serves that one
//           ---- kInterrupt, while a reply is awaited -->  the reply comes soon
//
// The process ends when nobody holds the other end of its socket.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "debug/cursor.h"
#include "debug/place.h"
#include "host/file_descriptor.h"

namespace lockstep::debug {

/// What ends a run before its time: once `descriptor` is readable, `asked` is called, and tells.
struct Interruption {
    int descriptor = -1;
    std::function<bool()> asked;
};

class Copy {
  public:
    /// The recording where it begins. For a process without threads.
    static Result<std::unique_ptr<Copy>> open(const std::string& path, vmm::MachineFactory& factory,
                                              const vmm::LogPlayer::Options& options);
    /// A second one at the same place.
    Result<std::unique_ptr<Copy>> fork();

    Icount icount() const { return icount_; }
    Result<Arrival> run(Icount until, const Stops& stops, Here here, const Interruption& interruption);
    Result<Arrival> find_last(Icount until, const Stops& stops, const Interruption& interruption);
    Result<std::optional<Cursor::Change>> find_last_change(Icount until, uint64_t steps,
                                                           const std::vector<Range>& ranges,
                                                           const Interruption& interruption);
    Result<cpu::CpuState> processor();
    Result<Bytes> read_linear(uint64_t at, size_t size);
    Result<Bytes> read_physical(const std::vector<Range>& ranges);
    Result<std::vector<Range>> physical(uint64_t at, uint64_t size);
    /// Registers and devices, for people.
    Result<std::string> describe();

    /// What one request may read.
    static constexpr size_t kMostBytes = 32 << 10;

  private:
    struct Request;
    struct Reply;
    Copy(host::FileDescriptor socket, Icount icount) : socket_(std::move(socket)), icount_(icount) {}
    Result<Reply> ask(const Request& request, const Interruption& interruption = {}, int passed = -1);
    Result<Reply> wait(const Interruption& interruption);
    static Request run_request(Icount until, const Stops& stops);
    class Server;

    host::FileDescriptor socket_;
    Icount icount_;
};

}  // namespace lockstep::debug
