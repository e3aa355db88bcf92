// SPDX-License-Identifier: Apache-2.0
// The daemon of a host (`lockstep serve`): accepts owners of VMs that want a backup here.
//
// It does next to nothing itself: for each connection it starts a process, which gets the connection and does
// all the talking. That process becomes the backup of one VM, and lives on when the daemon ends. Who hasn't
// said yet what he wants is a stranger, of whom few get a process at a time; some more wait. Unless it serves a laboratory,
// that process first shakes hands by TLS: it ends before a stranger's words are looked at.
#pragma once

#include <functional>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "host/acceptor.h"
#include "host/address.h"
#include "host/event_loop.h"
#include "host/process_handle.h"
#include "host/signals.h"
#include "vmm/cluster_exchange.h"
#include "vmm/complaints.h"
#include "vmm/vm_process.h"

namespace lockstep::vmm {

struct DaemonOptions {
    std::string listen;  ///< "address:port", as in protection.hosts
    std::string runtime_base;
    LinkSecurity security;
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
    /// Who is connected and has no process. He gets none before he has said anything, as an owner does at once.
    struct Waiting {
        std::string peer;
        host::FileDescriptor connection;
        bool speaks = false;
        host::Watch watch;
        host::Timer timeout;
    };
    using WaitingList = std::list<Waiting>;
    void accept(host::FileDescriptor connection);
    bool make_room_for(const std::string& peer);
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
    WaitingList waiting_;  ///< in the order of their coming
    std::unique_ptr<IdentityKeeper> identity_keeper_;
    Complaints complaints_;
    uint64_t next_stranger_ = 0;
};

/// The process that the daemon starts: answers the owner, or the host that asks for its cluster's authority, at the other end
/// of `connection`, and serves as the owner's
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
    Result<void> open(host::FileDescriptor connection);
    Result<void> shake_hands(host::FileDescriptor connection);
    void secured(host::SecuredStream stream, const host::SocketAddress& peer);
    Result<void> wait_for_introduction(std::unique_ptr<host::Channel> channel,
                                       const std::optional<host::DatagramKeys>& keys);
    void wait_for_cluster_request(std::unique_ptr<host::Channel> channel, const std::string& member,
                                  const std::string& ip);
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
    std::unique_ptr<host::TlsHandshake> handshake_;
    std::unique_ptr<host::Channel> cluster_channel_;
    std::unique_ptr<PairLink> link_;
    std::unique_ptr<VmProcess> vm_;
    host::Timer timeout_;
};

}  // namespace lockstep::vmm
