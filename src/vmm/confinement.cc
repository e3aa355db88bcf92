// SPDX-License-Identifier: Apache-2.0
#include "vmm/confinement.h"

#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "base/log.h"
#include "host/runtime_folder.h"
#include "host/system_calls.h"
#include "memory/huge_file.h"

namespace lockstep::vmm {

namespace {

using host::PathUse;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kInstrumented = true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
constexpr bool kInstrumented = true;
#else
constexpr bool kInstrumented = false;
#endif
#else
constexpr bool kInstrumented = false;
#endif

}  // namespace

Confinement::~Confinement() {
    if (!folder_.empty()) ::rmdir(folder_.c_str());  // of a start that failed; else it is gone or in use
}

std::vector<host::PathRight> Confinement::path_rights(const VmSettings& settings, const Files& files) const {
    std::vector<host::PathRight> rights = {// Libraries, time zones; what the host can give.
                                           {"/usr", PathUse::kRead},
                                           {"/lib", PathUse::kRead},
                                           {"/lib64", PathUse::kRead},
                                           {"/etc/ssl/openssl.cnf", PathUse::kRead},
                                           {"/etc/localtime", PathUse::kRead},
                                           {"/etc/ld.so.cache", PathUse::kRead},
                                           // Where hosts are given by name.
                                           {"/etc/hosts", PathUse::kRead},
                                           {"/etc/host.conf", PathUse::kRead},
                                           {"/etc/nsswitch.conf", PathUse::kRead},
                                           {"/etc/resolv.conf", PathUse::kRead},
                                           {"/etc/gai.conf", PathUse::kRead},
                                           {"/run/systemd/resolve", PathUse::kRead},
                                           {"/proc/meminfo", PathUse::kRead},
                                           {"/proc/cpuinfo", PathUse::kRead},
                                           {"/proc/sys/vm", PathUse::kRead},
                                           {"/proc/self", PathUse::kRead},
                                           {"/sys/devices/system/cpu", PathUse::kRead},
                                           {"/sys/devices/system/node", PathUse::kRead},
                                           {"/sys/kernel/mm", PathUse::kRead},
                                           {"/dev/urandom", PathUse::kRead},
                                           {"/dev/null", PathUse::kReadWrite},
                                           {"/dev/net/tun", PathUse::kReadWrite},
                                           {"/dev/cpu_dma_latency", PathUse::kReadWrite},
                                           {"/dev/ptmx", PathUse::kReadWrite},
                                           {"/dev/pts", PathUse::kReadWrite},
                                           // What the VM is made of.
                                           {settings.kernel, PathUse::kRead},
                                           {settings.initrd, PathUse::kRead},
                                           {cluster_folder_, PathUse::kRead},
                                           {settings.protection.arbiter, PathUse::kOwn},
                                           {runtime_base_ + "/" + settings.name, PathUse::kOwn},
                                           {runtime_base_, PathUse::kRemoveFolders},
                                           {rules_.recordings, PathUse::kMakeFiles}};
    for (const DiskSettings& disk : settings.disks)
        rights.push_back({disk.path, disk.read_only ? PathUse::kRead : PathUse::kReadWrite});
    rights.push_back({files.from, PathUse::kRead});
    if (!files.record_path.empty()) {
        std::string folder = std::filesystem::path(files.record_path).parent_path().string();
        rights.push_back({folder.empty() ? "." : folder, PathUse::kMakeFiles});
    }
    if (settings.engine.perf_map) rights.push_back({"/tmp", PathUse::kMakeFiles});
    std::erase_if(rights, [](const host::PathRight& right) { return right.path.empty(); });
    return rights;
}

void Confinement::begin(const VmSettings& settings, const Files& files) {
    if (!rules_.wanted) {
        text_ = "no: host.toml says `confine = false`";
        return;
    }
    // Where a start can't succeed it says so better itself.
    if (!host::make_runtime_base(runtime_base_)) return;
    if (::geteuid() == 0) user_ = host::find_service_user(rules_.user);
    int memory = memory::prepare_huge_files(user_ ? user_->user : ::geteuid());
    const std::string& arbiter = settings.protection.arbiter;
    if (!arbiter.empty() && ::access(arbiter.c_str(), F_OK) != 0)
        return lacks(fmt::format(
            "files of others are open to it, since the arbiter's folder {} wasn't there at its start",
            arbiter));
    // A folder that doesn't exist yet can't be allowed.
    folder_ = runtime_base_ + "/" + settings.name;
    ::mkdir(folder_.c_str(), 0700);
    if (Result<void> done = host::restrict_paths(path_rights(settings, files), memory); !done)
        lacks(done.error().message());
}

/// What it will open later on, it must be able to open as that user.
Result<void> Confinement::change_user(const VmSettings& settings, const std::string& folder) const {
    if (::geteuid() != 0) return {};
    if (!user_)
        return error("it has root's rights, since this host has no user {}; make it by 'useradd --system {}'",
                     rules_.user, rules_.user);
    const std::string& arbiter = settings.protection.arbiter;
    if (!arbiter.empty() && !host::may_access(*user_, arbiter, host::Access::kChange))
        return error(
            "it has root's rights, since the user {} may not write to the arbiter's folder {}; give it to "
            "that user by 'chown {} {}'",
            user_->name, arbiter, user_->name, arbiter);
    for (const char* file : {"", "/host.key", "/host.crt", "/authority.crt", "/removed.crl"})
        if (!host::may_access(*user_, cluster_folder_ + file, host::Access::kRead))
            return error(
                "it has root's rights, since the user {} may not read {}{}; `lockstep serve` sees to that",
                user_->name, cluster_folder_, file);
    TRY(host::give_to(*user_, folder));
    return host::become(*user_);
}

void Confinement::finish(const VmSettings& settings, const std::string& folder) {
    if (!rules_.wanted) return;
    if (Result<void> done = change_user(settings, folder); !done) lacks(done.error().message());
    Result<void> filtered = kInstrumented
                                ? Result<void>(error("an instrumented build has no filter of system calls"))
                                : host::restrict_system_calls();
    if (!filtered) lacks(filtered.error().message());
    text_ = lacking_.empty() ? "yes" : "in part: " + lacking_;
    log_debug("VM {}: confined: {}", settings.name, text_);
}

void Confinement::lacks(const std::string& sentence) {
    lacking_ += (lacking_.empty() ? "" : "; ") + sentence;
}

}  // namespace lockstep::vmm
