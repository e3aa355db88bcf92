// SPDX-License-Identifier: Apache-2.0
// The first state of a recording that began in the midst of a machine's life, on its way into a machine.
//
// Each piece but the last holds whole records of pages (memory/page_records.h), in no order; a page may come again. The
// last one holds what is left of them, their end, and drive::save_without_memory().
#pragma once

#include <optional>
#include <string>

#include "drive/vm_state.h"
#include "memory/page_loader.h"
#include "record/start_info.h"

namespace lockstep::vmm {

class SnapshotLoader {
  public:
    /// Clears the machine's memory.
    explicit SnapshotLoader(machine::Machine& machine) : machine_(machine), pages_(machine.memory()) {}
    /// What belongs to the state, after the last piece.
    Result<std::optional<drive::DriverCounts>> take(const record::SnapshotPiece& piece);

  private:
    machine::Machine& machine_;
    memory::PageLoader pages_;
};

/// What a snapshot's file says of the machine. Fails where it isn't one, or is of another build or processor.
Result<record::StartInfo> read_snapshot_start(const std::string& path);
/// Its state, into a machine made from that.
Result<drive::DriverCounts> load_snapshot(const std::string& path, machine::Machine& machine);

}  // namespace lockstep::vmm
