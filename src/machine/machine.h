// SPDX-License-Identifier: Apache-2.0
// The deterministic machine: vCPU + memory + devices.
//
// Its state after N instructions is a function of its first state and of the entries delivered at or before
// N. It knows no host: what it wants done outside leaves through an OutputSink, what happens outside enters
// through deliver(). Every device works in the same way on a primary, a backup and in a replay.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/shared_bytes.h"
#include "base/strong.h"
#include "bus/device.h"
#include "record/entry.h"
#include "translate/engine_options.h"
#include "translate/engine_report.h"
#include "translate/stop_urgency.h"
#include "x86/features.h"

namespace lockstep::memory {
class GuestMemory;
}

namespace lockstep::machine {

struct DiskConfig {
    uint64_t size_bytes = 0;
    bool read_only = false;
    std::string serial;  ///< at most 20 bytes, shown to the guest
};

struct NetworkConfig {
    std::array<uint8_t, 6> mac{};
    bool offloads = true;  ///< offer checksum and segmentation offloads, and merged receive buffers
};

/// The numbers by which entries and outputs name the devices that meet the host. Disk i is kFirstDisk + i.
inline constexpr uint16_t kSerialDevice = 1;
inline constexpr uint16_t kConsoleDevice = 2;
inline constexpr uint16_t kRandomDevice = 3;
inline constexpr uint16_t kFirstDisk = 16;
inline constexpr uint16_t kFirstNetwork = 32;

/// What the guest is made of. Two machines of equal configuration and equal inputs run alike.
struct MachineConfig {
    uint64_t memory_bytes = 0;
    std::vector<DiskConfig> disks;
    std::vector<NetworkConfig> networks;
    x86::CpuModel cpu = x86::CpuModel::kV2;
    bool console = true;  ///< a virtio console beside the serial port
    SharedBytes kernel;   ///< bzImage; none: the firmware starts the guest
    SharedBytes initrd;
    std::string command_line;
    SharedBytes firmware;        ///< UEFI's code, which ends at 4 GiB; none: the kernel is started directly
    SharedBytes variables;       ///< its flash memory, which ends where the code begins
    uint64_t start_time_ns = 0;  ///< the real-time clock at guest time 0, since 1970

    void save(ByteWriter& out) const;
    /// Kernel and initrd stay where they are.
    static Result<MachineConfig> load(const SharedBytes& encoded);
};

/// Why run() returned. Where several are true at one icount, a power-off or reset counts first: a run to the
/// icount of a reset says kReset, never kReached.
enum class Stop : uint8_t {
    kReached,    ///< the icount that was asked for
    kRequested,  ///< request_stop() was called
    kHalted,     ///< the guest waits for an interrupt (HLT); time must be advanced or an input delivered
    kPowerOff,   ///< the guest switched itself off
    kReset,      ///< the guest asked for a reset, or a triple fault; the machine has not been reset yet
    kDebugger,   ///< a stop of the probe's was met
};

struct StateHash {
    uint64_t registers = 0;
    uint64_t memory = 0;
    uint64_t devices = 0;
    bool operator==(const StateHash&) const = default;
};

class Probe;

class Machine {
  public:
    virtual ~Machine() = default;

    /// Runs until `until` at the latest. Any exception of time, device or interrupt inside is handled here.
    virtual Stop run(Icount until) = 0;
    /// Makes run() return soon. May be called from a signal handler or another thread.
    virtual void request_stop(translate::StopUrgency urgency = translate::StopUrgency::kAtOnce) = 0;
    /// From the next run() on a stop request is looked for after this many instructions at the latest,
    /// without a signal.
    virtual void set_glance(uint64_t instructions) = 0;

    virtual Icount icount() const = 0;
    /// Bytes of input that a device has room for; what is more would be lost.
    virtual size_t input_room(uint16_t device) const = 0;
    /// Guest time (ns, see bus/virtual_clock.h) now, and of the next timer; ~0 where none is armed.
    virtual uint64_t guest_time_ns() const = 0;
    virtual uint64_t next_timer_ns() const = 0;

    /// Applies an input entry at the present icount, which must be the entry's.
    virtual void deliver(const record::Entry& entry) = 0;

    /// Power-on state, with kernel and initrd loaded again.
    virtual void reset() = 0;
    /// Registers and devices, without the memory: kilobytes. It changes the machine only as far as a replay's
    /// save at the same icount does, or a kCut entry there (the TLB is cleared).
    virtual void save_state(ByteWriter& out) = 0;
    /// After the memory: what was derived from the one before becomes void here.
    virtual Result<void> load_state(ByteReader& in) = 0;
    /// The guest's memory, to be saved (memory/clone.h, or as it is) and loaded (memory/page_loader.h).
    virtual memory::GuestMemory& memory() = 0;
    /// Both in one: the memory, then the state.
    void save(ByteWriter& out);
    Result<void> load(ByteReader& in);
    virtual StateHash hash() = 0;
    /// As hash(), but `memory` covers only `size` bytes of RAM from byte `start` of the RAM on (whole pages):
    /// cheap enough for a running guest.
    virtual StateHash hash_part(uint64_t start, uint64_t size) = 0;
    /// Requests to the host (disks, random bytes) whose completion has not been delivered, in the order in
    /// which the machine made them and as it made them: what going live issues again.
    virtual std::vector<bus::Output> unanswered() const = 0;
    /// Registers and devices as text, for dumps.
    virtual std::string describe() const = 0;
    /// See translate::Vcpu::set_optimisations(). Between two runs.
    virtual void set_optimisations(translate::Optimisations wanted) = 0;
    /// What the engine did for this machine. It depends on the host's timing, too.
    virtual translate::EngineReport engine_report() const = 0;
    /// Why translated code was left; the same holds.
    virtual std::vector<translate::Departure> departures() const = 0;
    /// For an idle moment: takes a piece of the memory that the engine will need from the host, which lasts
    /// some milliseconds at most. False: there is enough for a while.
    virtual bool take_memory_ahead() = 0;
    /// See translate::Vcpu::give_memory_back(). For a guest that is idle. Between two runs.
    virtual void give_memory_back() = 0;
    /// To be called first in the child of a fork, of a machine that was made for it (EngineOptions::forks): from
    /// now on it shares nothing with its parent's.
    virtual void after_fork() = 0;
    /// For a debugger; null where there is none (a toy).
    virtual Probe* probe() { return nullptr; }
    /// See translate::Vcpu::set_code_visitor().
    virtual void set_code_visitor(translate::CodeVisitor visitor) = 0;

    static Result<std::unique_ptr<Machine>> create(const MachineConfig& config,
                                                   const translate::EngineOptions& options,
                                                   bus::OutputSink& sink);
};

}  // namespace lockstep::machine
