// SPDX-License-Identifier: Apache-2.0
// The VMs of a host's folder: its daemon starts them with the host, watches their processes, and starts again what failed.
//
// The processes aren't the daemon's own to lose: each has a session of its own and lives on when the daemon ends. A daemon that
// starts finds them by their runtime folders, and what it knew of them in <base>/.kept/ (JSON, a file a VM), which
// `lockstep list` reads, too. That folder goes when the host starts anew; so a VM that isn't known there yet is one to be
// started, if it has `autostart`.
//
// What is decided is decided in KeptVm.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "host/control_socket.h"
#include "host/event_loop.h"
#include "host/process_handle.h"
#include "keeper/kept_vm.h"

namespace lockstep::keeper {

struct KeeperOptions {
    std::string runtime_base;
    std::string folder;                    ///< of the configurations: NAME.toml each
    std::string own_address;               ///< of this host's daemon, as protection.hosts may have it
    std::vector<std::string> run_options;  ///< of `lockstep run`, beside what the keeper gives itself
};

class VmKeeper {
  public:
    static Result<std::unique_ptr<VmKeeper>> create(host::EventLoop& loop, const KeeperOptions& options);

    // --- What an operator asks for; a sentence each ---

    Result<std::string> start(const std::string& vm);
    /// Presses its power button; once it is off, it stays so.
    Result<std::string> stop(const std::string& vm);

  private:
    struct Start {
        host::FileDescriptor output;
        host::ProcessHandle process;
        std::string text{};
        host::Watch output_watch{};
        host::Watch end_watch{};
    };
    struct Vm {
        std::string file;
        std::filesystem::file_time_type changed{};
        std::string mistake;           ///< of the file; empty: none
        std::string arbiter;           ///< empty: it has none
        bool names_this_host = false;  ///< by `own_address`
        KeptVm kept{{}};
        std::string saved;  ///< as the kept file has it
        uint64_t looked_s = 0;
        std::optional<Start> start;
        std::optional<host::ProcessHandle> process;  ///< in which the guest runs
        host::Watch end_watch;
    };

    VmKeeper(host::EventLoop& loop, KeeperOptions options) : loop_(loop), options_(std::move(options)) {}
    void on_time();
    void read_folder();
    void read_file(const std::string& name, Vm& vm);
    void meet(const std::string& name, Vm& vm);
    void look_after(const std::string& name, Vm& vm);
    bool find_process(const std::string& name, Vm& vm);
    void look_at_arbiter(const std::string& name, Vm& vm);
    void begin_start(const std::string& name, Vm& vm);
    void hear_start(const std::string& name);
    void finish_start(const std::string& name);
    void process_ended(const std::string& name, Vm& vm, const std::string& otherwise);
    void save(const std::string& name, Vm& vm);
    Result<Vm*> find(const std::string& name);

    host::EventLoop& loop_;
    KeeperOptions options_;
    std::map<std::string, Vm> vms_;
    std::string folder_complaint_;
    host::Timer timer_;
};

/// Answers {"action": "start" or "stop", "vm": NAME}, at the daemon's control socket.
host::Json answer_keeper_request(VmKeeper& keeper, const host::Json& request);
/// Where that is.
std::string daemon_socket(const std::string& runtime_base);

/// What the daemon of a host knows of its VMs, as its files tell: an object each, with `name`.
std::vector<host::Json> kept_vms(const std::string& runtime_base);

}  // namespace lockstep::keeper
