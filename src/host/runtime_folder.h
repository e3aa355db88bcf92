// SPDX-License-Identifier: Apache-2.0
// The folder of a running VM: its lock, its process number, its sockets.
//
//     <base>/<vm>/pid       the process number; locked while the VM runs
//     <base>/<vm>/claimant  who it is at which arbiter; none: the VM has no arbiter
//     <base>/<vm>/control   the control socket
//     <base>/<vm>/console   the console's socket or link
//     <base>/<vm>/live      the guest runs in this process: a backup has none
//     <base>/<vm>/ended     how the last process that the guest ran in has ended, where a daemon wants to know
//     <base>/.kept/<vm>     the daemon looks after this VM (src/keeper)
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "host/file_descriptor.h"
#include "host/process_handle.h"

namespace lockstep::host {

/// $LOCKSTEP_RUNTIME, or /run/lockstep for root, or $XDG_RUNTIME_DIR/lockstep, or /tmp/lockstep-<user
/// number>.
std::string default_runtime_base();

/// Makes the folder `base` where it doesn't exist, and checks that nobody else can have put anything there:
/// it belongs to this user or to root, others may not write to it, and it is no symbolic link.
Result<void> make_runtime_base(const std::string& base);

/// Letters, digits, '.', '_' and '-', at most 64 of them, not starting with '.' or '-'. The sentence says so.
Result<void> check_vm_name(const std::string& name);

/// As whom a VM process claims terms, and where.
struct Claimant {
    std::string name;
    std::string arbiter;  ///< the folder
};

class RuntimeFolder {
  public:
    /// Makes the folder and takes its lock; fails with a sentence where the VM already runs here. A process that
    /// claims nothing of its own accord says at once who it is: it may hang at any moment.
    static Result<RuntimeFolder> create(const std::string& base, const std::string& vm,
                                        const std::optional<Claimant>& claimant = {});
    /// Removes what is in the folder, and the lock last.
    ~RuntimeFolder();
    RuntimeFolder(RuntimeFolder&&) noexcept = default;
    RuntimeFolder& operator=(RuntimeFolder&&) = delete;

    /// For others on this host, that must know whether this process may own the VM.
    Result<void> write_claimant(const Claimant& claimant);

    /// For the daemon of this host: the guest runs here; and at the end, how it ended, where a daemon looks after the VM.
    void mark_live() const;
    void leave_ending(const std::string& text);

    const std::string& path() const { return path_; }
    std::string control_socket() const { return path_ + "/control"; }
    std::string console() const { return path_ + "/console"; }

    /// The VMs that run below `base`, by name, and the process of one (0: it doesn't run). None where `base`
    /// might be somebody else's (see make_runtime_base()).
    static std::vector<std::string> running(const std::string& base);
    static pid_t process_of(const std::string& base, const std::string& vm);
    /// The process of a VM that is to run here; the sentence says that it doesn't, or may not be looked at.
    static Result<pid_t> find(const std::string& base, const std::string& vm);
    /// The process that holds the lock, whatever number the file tells; none where that can't be seen.
    static std::optional<ProcessHandle> holder(const std::string& base, const std::string& vm);
    /// Of the process that runs it. The sentence says that it claims nothing, or can't be read.
    static Result<Claimant> claimant_of(const std::string& base, const std::string& vm);
    /// Whether the guest runs in the process that there is.
    static bool is_live(const std::string& base, const std::string& vm);
    /// What the last process has left by leave_ending(), and nothing afterwards. Empty: it was killed, or there was none.
    static std::string take_ending(const std::string& base, const std::string& vm);
    static std::string kept_file(const std::string& base, const std::string& vm) {
        return base + "/.kept/" + vm;
    }
    static std::string control_socket_of(const std::string& base, const std::string& vm) {
        return base + "/" + vm + "/control";
    }

  private:
    RuntimeFolder(std::string path, FileDescriptor lock) : path_(std::move(path)), lock_(std::move(lock)) {}
    std::string path_;
    FileDescriptor lock_;
    bool leaves_ending_ = false;
};

}  // namespace lockstep::host
