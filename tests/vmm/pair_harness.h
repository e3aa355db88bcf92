// SPDX-License-Identifier: Apache-2.0
// Two hosts in one machine, for tests of pairs: two daemons on loopback ports with runtime folders of their
// own, a shared folder, and toy VMs (toy_lockstep). Everything is a real process, so that it can be killed
// and stopped.
#pragma once

#include <gtest/gtest.h>
#include <sys/types.h>

#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "host/file_descriptor.h"
#include "vmm/link_security.h"

namespace lockstep::vmm::testing {

using Json = nlohmann::json;

/// A process that is killed at the end of its life here.
class Process {
  public:
    Process(const std::vector<std::string>& arguments, const std::string& log_path);
    ~Process();
    Process(const Process&) = delete;
    Process& operator=(const Process&) = delete;
    /// Waits for its end and gives the exit status; -1 where it doesn't end in time or died of a signal.
    int wait(unsigned timeout_ms = 20'000);
    pid_t number() const { return process_; }

  private:
    pid_t process_ = 0;
    int status_ = -1;
};

/// A TCP port of 127.0.0.1 that is this test's for as long as the object lives: it is bound here, without listening,
/// so the system gives it to nobody, and a program that is told of it (and sets SO_REUSEADDR) can listen there.
class HeldPort {
  public:
    HeldPort();
    uint16_t number() const { return number_; }

  private:
    host::FileDescriptor socket_;
    uint16_t number_;
};

/// Forwards TCP connections from a port to another, and can cut or freeze them.
class Proxy {
  public:
    explicit Proxy(uint16_t to_port);
    ~Proxy();
    uint16_t port() const { return port_.number(); }
    /// Closes all connections; later ones are refused until `resume`.
    void cut();
    /// Moves no more bytes, and closes nothing.
    void freeze() { frozen_ = true; }
    void resume() { frozen_ = cut_ = false; }

  private:
    void forward();
    host::FileDescriptor listener_;
    HeldPort port_;
    uint16_t to_port_;
    std::atomic<bool> frozen_ = false, cut_ = false, stopping_ = false;
    std::thread thread_;
};

void sleep_ms(unsigned ms);

/// The text of a socket console from its first byte on, read to the end of what has been printed by now.
std::string read_console(const std::string& path);

/// How the hosts reach the shared disk.
enum class Storage : uint8_t {
    kOneCache,         ///< through the page cache of the one kernel that they share here
    kCacheOfEachHost,  ///< through a cache that dies with its host (apps/host_cache); needs root and FUSE
};

class Pair {
  public:
    /// `through_proxy`: host A reaches B through a proxy.
    explicit Pair(bool through_proxy = false, Storage storage = Storage::kOneCache,
                  Security security = Security::kTls);
    static bool can_have_caches();
    ~Pair();

    /// Starts the VM on host A and waits until it is protected.
    void start();
    /// A configuration of a VM: "toy" is there from the beginning.
    void configure(const std::string& vm);
    std::unique_ptr<Process> start_vm(const std::string& host, const std::string& vm = "toy",
                                      const std::vector<std::string>& options = {});

    /// "a" and "b".
    Json status(const std::string& host, const std::string& vm = "toy") const;
    std::string state(const std::string& host, const std::string& vm = "toy") const;
    Json act(const std::string& host, const Json& request, const std::string& vm = "toy") const;
    pid_t process(const std::string& host, const std::string& vm = "toy") const;
    /// Sends a signal to it; fails where there is none.
    void signal(const std::string& host, int number, const std::string& vm = "toy") const;
    std::string console(const std::string& host, const std::string& vm = "toy") const {
        return read_console(runtime(host) + "/" + vm + "/console");
    }
    void type(const std::string& host, const std::string& text) const;

    /// Waits until `true_now` is, at most some seconds; a failure of the test otherwise, with the logs.
    void wait_for(const std::string& what, const std::function<bool()>& true_now,
                  unsigned timeout_ms = 20'000);
    /// Waits until one host, and one only, owns the VM.
    void wait_for_one_owner();
    void wait_for_state(const std::string& host, const std::string& state, const std::string& vm = "toy");

    /// The lines "0", "1", ... that the guest printed: every number once, in order. Gives the last.
    int checked_lines(const std::string& host, const std::string& vm = "toy");
    /// After the end of the VM: every sector of the disk holds what the guest wrote last.
    void check_disk();
    pid_t daemon(const std::string& host) const { return daemons_.at(host)->number(); }
    void kill_daemon(const std::string& host) { daemons_.erase(host); }
    /// The power is cut: its processes die, and the cache of its own with what is in it.
    void kill_host(const std::string& host);
    /// Starts the daemon of a host with another program.
    void start_daemon(const std::string& host, const std::string& program);
    /// What a host's daemon allows others to name: the lines of [allow] in its host.toml.
    void allow(const std::string& host, const std::string& lines) const;

    std::string folder, shared;
    std::string runtime(const std::string& host) const { return folder + "/" + host; }
    /// Of a host's links; its identity lies beside what it runs.
    LinkSecurity security_of(const std::string& host) const {
        return {security_, runtime(host) + "/cluster"};
    }
    /// The address of a host's daemon.
    std::string address(const std::string& host) const;
    Proxy* proxy() { return proxy_.get(); }
    Process& vm() { return *vm_; }

  private:
    void show_logs() const;
    void give_cache(const std::string& host);
    void make_cluster() const;
    std::vector<std::string> program_of(const std::string& host, const std::string& program) const;
    std::string view_of(const std::string& host) const { return folder + "/view-" + host; }
    std::vector<std::string> on_host(const std::string& host, std::vector<std::string> command) const;
    Security security_;
    std::map<std::string, HeldPort> ports_;
    std::map<std::string, std::unique_ptr<Process>> caches_, daemons_;
    std::unique_ptr<Proxy> proxy_;
    std::unique_ptr<Process> vm_;
};

/// The guest prints on: `host` shows lines beyond `line`.
void expect_goes_on(Pair& pair, const std::string& host, int line);

}  // namespace lockstep::vmm::testing
