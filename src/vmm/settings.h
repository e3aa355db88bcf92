// SPDX-License-Identifier: Apache-2.0
// What one VM is made of on its hosts: the content of its configuration file, without defaults to guess.
//
// The whole of it travels to the backup when a VM is protected, so that the backup can take over, and protect
// the VM in its turn, without a file of its own. Paths and TAP names therefore mean the same on both hosts.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "record/fields.h"
#include "translate/engine_options.h"

namespace lockstep::vmm {

enum class DiskFormat : uint8_t {
    kDetect,  ///< an image that looks like a container (qcow2, ...) is refused
    kRaw,     ///< whatever it looks like
};

struct DiskSettings {
    std::string path;
    std::string serial;
    bool read_only = false;
    bool shared = false;                      ///< the path leads to the same image on every host of the VM
    DiskFormat format = DiskFormat::kDetect;  ///< looked at before a start, not by a backup

    template <typename Codec>
    void fields(Codec& codec) {
        codec(path, serial, read_only, shared, format);
    }
};

struct NetworkSettings {
    std::string tap;
    std::string bridge;  ///< empty: the TAP device is left where it is
    std::array<uint8_t, 6> mac{};
    bool offloads = true;  ///< the guest may send and receive large packets, and leave checksums undone

    template <typename Codec>
    void fields(Codec& codec) {
        codec(tap, bridge, mac, offloads);
    }
};

/// What starts the guest from its disks.
enum class Firmware : uint8_t {
    kNone,  ///< its kernel is started directly
    kUefi,
};

/// Which CPU model the guest sees (x86/features.h).
enum class CpuChoice : uint8_t {
    kV2,
    kV3,
    kBest,  ///< of those that the host has; a VM that has started has one of the others, until it is switched off
};

/// Where the console of the guest is to be found.
enum class ConsoleKind : uint8_t {
    kSocket,    ///< a UNIX socket in the VM's runtime folder; `lockstep console` attaches to it
    kPty,       ///< a pseudo-terminal, with a link in the runtime folder
    kTerminal,  ///< the terminal that the VM was started in
    kNone,
};

/// Which of the guest's ports the console is joined to.
enum class ConsolePort : uint8_t {
    kSerial,  ///< the 16550, ttyS0 in the guest
    kVirtio,  ///< the virtio console, hvc0 in the guest; it exists only where it is chosen
};

struct ConsoleSettings {
    ConsoleKind kind = ConsoleKind::kSocket;
    ConsolePort port = ConsolePort::kSerial;

    template <typename Codec>
    void fields(Codec& codec) {
        codec(kind, port);
    }
};

/// How the VM is protected. All times in milliseconds.
struct ProtectionSettings {
    /// The host daemons ("address:port") that may run the VM. Empty: the VM isn't protected by itself.
    std::vector<std::string> hosts;
    /// A folder on storage that all those hosts share.
    std::string arbiter;
    uint64_t heartbeat_ms = 70;      ///< between two heartbeats
    uint64_t failure_ms = 350;       ///< silence after which the other side counts as failed
    uint64_t storage_ms = 300;       ///< that a write may take from the kernel to the disk
    uint64_t lag_ms = 200;           ///< execution lag from which the primary is slowed
    uint64_t log_buffer = 64 << 20;  ///< bytes of log on the way; the primary stops when they are full
    uint64_t hash_ms = 1000;         ///< between two comparisons of the two sides' states
    uint64_t copy_rate = 0;  ///< bytes a second of a new backup's copy at most; 0: as the link takes them
    /// Whether the guest goes to the other host when its networks lead nowhere on this one.
    bool hand_over_on_link_loss = false;

    template <typename Codec>
    void fields(Codec& codec) {
        codec(hosts, arbiter, heartbeat_ms, failure_ms, storage_ms, lag_ms, log_buffer, hash_ms, copy_rate,
              hand_over_on_link_loss);
    }
};

/// When this host's daemon starts the VM again by itself.
enum class Restart : uint8_t { kOnFailure, kAlways, kNever };
constexpr std::string_view name_of(Restart restart) {
    constexpr std::string_view kNames[] = {"on-failure", "always", "never"};
    return kNames[static_cast<size_t>(restart)];
}

/// What the daemon of the host that has the configuration does about it; stays there.
struct StartSettings {
    bool automatic = false;  ///< it is started with the host
    Restart restart = Restart::kOnFailure;
    uint64_t limit = 5;  ///< restarts within ten minutes
};

struct VmSettings {
    std::string name;
    std::string kernel;  ///< path of a bzImage; empty: there is firmware
    Firmware firmware = Firmware::kNone;
    std::string initrd;  ///< path; empty: none
    std::string command_line;
    uint64_t memory_bytes = 0;
    CpuChoice cpu = CpuChoice::kV2;
    bool low_latency = true;  ///< keep the host's processors awake while there is traffic
    std::vector<DiskSettings> disks;
    std::vector<NetworkSettings> networks;
    ConsoleSettings console;
    ProtectionSettings protection;
    translate::EngineOptions engine;
    StartSettings start;  ///< doesn't travel

    template <typename Codec>
    void fields(Codec& codec) {
        codec(name, kernel, firmware, initrd, command_line, memory_bytes, cpu, low_latency, disks, networks,
              console, protection);
        codec(engine.code_cache_bytes, engine.block_limit, engine.chaining, engine.jump_cache,
              engine.jump_index, engine.dead_flags, engine.copied_blocks, engine.copied_chains,
              engine.superblocks, engine.shared_lookups, engine.inline_system, engine.inline_strings,
              engine.window, engine.window_after, engine.perf_map);
    }
};

}  // namespace lockstep::vmm
