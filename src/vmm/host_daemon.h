// SPDX-License-Identifier: Apache-2.0
// The daemon of a host (`lockstep serve`): accepts owners of VMs that want a backup here.
//
// It does next to nothing itself: for each connection it starts a process, which gets the connection and does
// all the talking. That process becomes the backup of one VM, and lives on when the daemon ends. Who hasn't
// said yet what he wants is a stranger, of whom few get a process at a time; some more wait.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "host/acceptor.h"
#include "host/address.h"
#include "host/event_loop.h"
#include "host/process_handle.h"
#include "host/signals.h"
#include "vmm/complaints.h"
#include "vmm/vm_process.h"

namespace lockstep::vmm {

struct DaemonOptions {
    std::string listen;  ///< "address:port", as in protection.hosts
    std::string runtime_base;
};

class HostDaemon {
  public:
    /// Fails with a sentence where the port is busy or the address isn't this host's.
    static Result<std::unique_ptr<HostDaemon>> create(host::EventLoop& loop, const DaemonOptions& options);
    /// Collects processes that have ended; to be called on SIGCHLD.
    void collect_children();
    /// The address listened at, with the port that was chosen where 0 was asked for.
    host::SocketAddress address() const;

  private:
    HostDaemon(host::EventLoop& loop, const DaemonOptions& options) : loop_(loop), options_(options) {}

    /// A process that serves no VM yet. It holds the other end of `told`: a byte says that its owner has introduced himself,
    /// what follows is what it has against him.
    struct Stranger {
        std::string peer;  ///< his host's address
        host::FileDescriptor told;
        bool introduced = false;
        std::string complaint;
        host::Watch watch;
        std::optional<host::ProcessHandle> process;
        host::Timer timeout;  ///< for one that hangs, and would stay a stranger
    };
    struct Waiting {
        std::string peer;
        host::FileDescriptor connection;
    };
    void accept(host::FileDescriptor connection);
    void admit_waiting();
    bool admits(const std::string& peer) const;
    void start_process(const std::string& peer, const host::FileDescriptor& connection);
    void add_stranger(const std::string& peer, host::FileDescriptor told, pid_t process);
    void hear(uint64_t number);
    void complain(const std::string& sentence);

    host::EventLoop& loop_;
    DaemonOptions options_;
    std::unique_ptr<host::Acceptor> acceptor_;
    std::map<uint64_t, Stranger> strangers_;
    std::deque<Waiting> waiting_;
    Complaints complaints_;
    uint64_t next_stranger_ = 0;
};

/// The process that the daemon starts: answers the owner at the other end of `connection`, and serves as its
/// backup if that is wanted. `stranger`: as HostDaemon::Stranger has it, closed once a VM is served. `ended` comes once.
class BackupProcess {
  public:
    static Result<std::unique_ptr<BackupProcess>> create(host::EventLoop& loop, MachineFactory& factory,
                                                         host::FileDescriptor connection,
                                                         host::FileDescriptor stranger,
                                                         const Environment& environment,
                                                         VmProcess::Ended ended,
                                                         std::function<void(VmProcess&)> started);

  private:
    BackupProcess(host::EventLoop& loop, MachineFactory& factory, const Environment& environment,
                  VmProcess::Ended ended, std::function<void(VmProcess&)> started);
    void introduced(ByteSpan frame);
    void tell_daemon(std::string_view text);
    void answer(Answer content);
    void refuse(const std::string& sentence);
    void serve(const Introduction& introduction);
    Result<std::unique_ptr<VmProcess>> start(const Introduction& introduction);
    Result<void> prove_that_it_owns_nothing(const host::Claimant& process, const Introduction& asker) const;
    void end(Ending::Kind kind, const std::string& sentence);

    host::EventLoop& loop_;
    MachineFactory& factory_;
    Environment environment_;
    VmProcess::Ended ended_;
    std::function<void(VmProcess&)> started_;
    host::FileDescriptor stranger_;
    std::unique_ptr<PairLink> link_;
    std::unique_ptr<VmProcess> vm_;
    host::Timer timeout_;
};

}  // namespace lockstep::vmm
