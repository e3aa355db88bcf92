// SPDX-License-Identifier: Apache-2.0
// A VM's process gives up the rights that it doesn't need: who breaks out of a guest finds next to nothing
// (docs/adr/0019-least-rights.md).
//
// LIFE CYCLE. begin(), while the process has one thread: only what the VM's settings name can be opened from then on (Landlock). Then
// devices, images and sockets are opened, with the rights that this takes. finish(): another user than root, and only the system
// calls of serving (seccomp). What a host can't do is left out, and text() says so.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "host/path_rights.h"
#include "host/service_user.h"
#include "vmm/settings.h"

namespace lockstep::vmm {

/// What the host's operator says of it (control/host_config.h).
struct ConfinementRules {
    bool wanted = true;
    std::string user = "lockstep";
    std::string recordings = "/var/lib/lockstep/recordings";  ///< where a VM that runs may be recorded to
};

class Confinement {
  public:
    Confinement(ConfinementRules rules, std::string runtime_base, std::string cluster_folder)
        : rules_(std::move(rules)),
          runtime_base_(std::move(runtime_base)),
          cluster_folder_(std::move(cluster_folder)) {}
    ~Confinement();
    Confinement(const Confinement&) = delete;
    Confinement& operator=(const Confinement&) = delete;

    /// What the VM's process opens besides: files that the command line named; empty: there is none.
    struct Files {
        std::string record_path;  ///< of a recording from power-on, to write
        std::string from;         ///< a snapshot, to read
    };
    void begin(const VmSettings& settings, const Files& files = {});
    /// `folder`: the VM's runtime folder, which goes to the user.
    void finish(const VmSettings& settings, const std::string& folder);

    /// "yes", or why not or not all of it.
    const std::string& text() const { return text_; }
    bool is_wanted() const { return rules_.wanted; }
    const std::string& recordings() const { return rules_.recordings; }

  private:
    std::vector<host::PathRight> path_rights(const VmSettings& settings, const Files& files) const;
    Result<void> change_user(const VmSettings& settings, const std::string& folder) const;
    void lacks(const std::string& sentence);

    ConfinementRules rules_;
    std::string runtime_base_;
    std::string cluster_folder_;
    std::string folder_;  ///< of the VM, as begin() has made it; empty: it hasn't
    std::optional<host::ServiceUser> user_;
    std::string text_ = "not yet: the VM is starting";
    std::string lacking_;
};

}  // namespace lockstep::vmm
