// SPDX-License-Identifier: Apache-2.0
// How a VM process gets its machine. Tests put a toy machine here.
#pragma once

#include <functional>
#include <memory>

#include "base/bytes.h"
#include "base/result.h"
#include "bus/device.h"
#include "machine/machine.h"
#include "vmm/settings.h"

namespace lockstep::vmm {

class MachineFactory {
  public:
    virtual ~MachineFactory() = default;
    /// The machine's configuration, encoded: what a recording and a backup need to make the same machine.
    /// Reads kernel, initrd and the sizes of the disks. The machine's real-time clock is that of the call.
    virtual Result<Bytes> configure(const VmSettings& settings) = 0;
    /// Whether what `wanted` says of disks and networks serves a machine of `saved`, which goes on from a snapshot.
    virtual Result<void> check_fits(const SharedBytes& saved, const SharedBytes& wanted);
    /// A machine in its power-on state. The RAM's size in bytes is in `ram_bytes` afterwards.
    virtual Result<std::unique_ptr<machine::Machine>> create(const SharedBytes& configuration,
                                                             const translate::EngineOptions& options,
                                                             bus::OutputSink& sink, uint64_t& ram_bytes) = 0;
};

/// The machine that runs real guests.
class RealMachineFactory : public MachineFactory {
  public:
    Result<Bytes> configure(const VmSettings& settings) override;
    Result<void> check_fits(const SharedBytes& saved, const SharedBytes& wanted) override;
    Result<std::unique_ptr<machine::Machine>> create(const SharedBytes& configuration,
                                                     const translate::EngineOptions& options,
                                                     bus::OutputSink& sink, uint64_t& ram_bytes) override;
};

}  // namespace lockstep::vmm
