// SPDX-License-Identifier: Apache-2.0
#include "drive/vm_state.h"

namespace lockstep::drive {

Bytes save_state(machine::Machine& machine, const DriverCounts& counts, uint64_t expected_bytes) {
    Bytes state;
    state.reserve(expected_bytes);
    ByteWriter out(state);
    out.fixed(counts.outputs);
    out.fixed(counts.rate);
    machine.save(out);
    return state;
}

Result<DriverCounts> load_state(machine::Machine& machine, ByteSpan state) {
    ByteReader in(state);
    DriverCounts counts;
    counts.outputs = in.fixed<uint64_t>();
    counts.rate = in.fixed<uint64_t>();
    if (!in.ok()) return error("the saved state is cut short; make it again");
    TRY(machine.load(in));
    return counts;
}

}  // namespace lockstep::drive
