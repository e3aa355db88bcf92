// The daemon of a host (`lockstep serve`): accepts owners of VMs that want a backup here.
//
// It does next to nothing itself: for each connection it starts a process, which gets the connection and does
// all the talking. That process becomes the backup of one VM, and lives on when the daemon ends.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "host/acceptor.h"
#include "host/address.h"
#include "host/event_loop.h"
#include "host/signals.h"
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
    explicit HostDaemon(const DaemonOptions& options) : options_(options) {}
    void start_process(host::FileDescriptor connection);

    DaemonOptions options_;
    std::unique_ptr<host::Acceptor> acceptor_;
};

/// The process that the daemon starts: answers the owner at the other end of `connection`, and serves as its
/// backup if that is wanted. `ended` comes once.
class BackupProcess {
  public:
    static Result<std::unique_ptr<BackupProcess>> create(host::EventLoop& loop, MachineFactory& factory,
                                                         host::FileDescriptor connection,
                                                         const Environment& environment,
                                                         VmProcess::Ended ended,
                                                         std::function<void(VmProcess&)> started);

  private:
    BackupProcess(host::EventLoop& loop, MachineFactory& factory, const Environment& environment,
                  VmProcess::Ended ended, std::function<void(VmProcess&)> started);
    void introduced(ByteSpan frame);
    void answer(Answer content);
    void serve(const Introduction& introduction);
    void end(Ending::Kind kind, const std::string& sentence);

    host::EventLoop& loop_;
    MachineFactory& factory_;
    Environment environment_;
    VmProcess::Ended ended_;
    std::function<void(VmProcess&)> started_;
    std::unique_ptr<PairLink> link_;
    std::unique_ptr<VmProcess> vm_;
    host::Timer timeout_;
};

}  // namespace lockstep::vmm
