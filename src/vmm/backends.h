// SPDX-License-Identifier: Apache-2.0
// The host's side of a VM's devices: disks, networks, console, random bytes.
//
// A side that owns its guest lets inputs in and outputs out. A backup has everything open already, so that a
// missing file or right shows before it matters, but lets nothing in or out: frames that arrive are thrown
// away. Console output is the exception: it is shown on both sides, since only an operator of this host can
// see it.
//
// All on the loop's thread.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bus/output.h"
#include "drive/live_driver.h"
#include "host/console.h"
#include "host/disk_image.h"
#include "host/event_loop.h"
#include "host/orphan_frames.h"
#include "host/source_addresses.h"
#include "host/tap_device.h"
#include "pair/ports.h"
#include "vmm/settings.h"

namespace lockstep::vmm {

/// How the image of a disk is opened.
host::DiskOptions image_options(const DiskSettings& disk);

class Backends : public pair::Outside {
  public:
    struct Hooks {
        std::function<void(drive::Input)> input;  ///< something for the guest
        std::function<void()> escape;             ///< Ctrl-] was typed at the terminal
        /// Whether a write whose kOutput entry is `entry` may be made at this very moment (the last look of
        /// docs/adr/0001-who-may-act.md); asked for each write, right before the kernel gets it.
        std::function<bool(LogPos entry)> may_write;
        std::function<void()> drained;  ///< answers drain()
    };
    /// `console`: the path of its socket or link. `terminal`: whether a console of kind terminal can be had;
    /// otherwise it becomes a socket. `disks`: as host::DiskOptions::allowed.
    struct Places {
        std::string console;
        bool terminal = false;
        std::optional<host::AllowedPaths> disks = {};
    };
    /// `orphans`: what others are to have of what comes in, when this process dies.
    static Result<std::unique_ptr<Backends>> create(host::EventLoop& loop, const VmSettings& settings,
                                                    const Places& places, host::OrphanFrames& orphans,
                                                    Hooks hooks);

    void go_live() override;
    void acknowledged(LogPos before) override { orphans_.acknowledged(before); }
    void let_in(uint16_t device, Bytes packets) override;
    /// The oldest packets of `device` that the guest hadn't got are in this entry.
    void packets_entered(uint16_t device, LogPos entry);
    void let_inputs_in() override { live_ = true; }
    void submit(const bus::Output& output, LogPos entry) override;
    void issue_kept() override;
    void show(const bus::Output& output) override;
    /// Back-pressure: while paused, packets and typed bytes wait in the kernel.
    void pause_inputs();
    void resume_inputs();
    bool inputs_paused() const { return inputs_paused_; }
    /// The console alone: the guest has no room for more.
    void pause_console();
    void resume_console();

    size_t in_flight() const override;
    uint64_t completions() const override { return completions_; }
    void drain() override;
    void stop() override;

    /// Sees whether the guest's networks lead beyond this host, and says so in the log where that changes.
    void look_at_links();
    /// What was found, of each network; empty: nothing is known against it.
    const std::vector<std::string>& link_faults() const { return link_faults_; }
    size_t links_lost() const;

    std::string console_place() const;
    struct Traffic {
        uint64_t packets_in = 0, packets_out = 0, disk_reads = 0, disk_writes = 0, disk_errors = 0;
    };
    Traffic traffic() const;

  private:
    Backends(host::EventLoop& loop, const VmSettings& settings, host::OrphanFrames& orphans, Hooks hooks);
    Result<void> open_disks(const Places& places);
    Result<void> open_networks();
    Result<void> open_console(const Places& places);
    void let_out(uint16_t device, const bus::Packets& packets, LogPos entry);
    void let_out(uint16_t device, const bus::DiskRequest& request, LogPos entry);
    void let_out(uint16_t device, const bus::ConsoleBytes& printed, LogPos entry);
    void let_out(uint16_t device, const bus::RandomRequest& request, LogPos entry);
    void let_out(uint16_t device, const bus::NetworkOffloads& offloads, LogPos entry);
    host::TapDevice* network_of(uint16_t device);
    void give_packets(host::TapDevice& network, uint16_t device, Bytes packets);
    void learn_sources(uint16_t device, std::span<const ByteSpan> packets);
    void check_drained();
    void complain(size_t disk, host::DiskAction action, host::DiskStatus status);

    host::EventLoop& loop_;
    VmSettings settings_;
    host::OrphanFrames& orphans_;
    Hooks hooks_;
    bool live_ = false;
    bool stopped_ = false;
    bool inputs_paused_ = false;
    bool console_paused_ = false;  ///< by itself
    uint64_t completions_ = 0;
    std::vector<std::unique_ptr<host::DiskImage>> disks_;
    std::vector<uint64_t> complained_ns_;  ///< of each disk, when last; 0: never
    std::vector<std::unique_ptr<host::TapDevice>> networks_;
    std::vector<host::SourceAddresses> sources_;  ///< of each network
    std::vector<std::string> link_faults_;        ///< of each network
    std::unique_ptr<host::Console> console_;
    bool draining_ = false;  ///< Hooks::drained is to be called
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace lockstep::vmm
