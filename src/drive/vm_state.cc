// SPDX-License-Identifier: Apache-2.0
#include "drive/vm_state.h"

namespace lockstep::drive {

namespace {

void write_counts(ByteWriter& out, const DriverCounts& counts) {
    out.fixed(counts.outputs);
    out.fixed(counts.rate);
}

Result<DriverCounts> read_counts(ByteReader& in) {
    DriverCounts counts;
    counts.outputs = in.fixed<uint64_t>();
    counts.rate = in.fixed<uint64_t>();
    if (!in.ok()) return error("the saved state is cut short; make it again");
    return counts;
}

}  // namespace

Bytes save_state(machine::Machine& machine, const DriverCounts& counts) {
    Bytes state;
    ByteWriter out(state);
    write_counts(out, counts);
    machine.save(out);
    return state;
}

Result<DriverCounts> load_state(machine::Machine& machine, ByteSpan state) {
    ByteReader in(state);
    DriverCounts counts = TRY(read_counts(in));
    TRY(machine.load(in));
    return counts;
}

Bytes save_without_memory(machine::Machine& machine, const DriverCounts& counts) {
    Bytes state;
    ByteWriter out(state);
    write_counts(out, counts);
    machine.save_state(out);
    return state;
}

Result<DriverCounts> load_without_memory(machine::Machine& machine, ByteSpan state) {
    ByteReader in(state);
    DriverCounts counts = TRY(read_counts(in));
    TRY(machine.load_state(in));
    return counts;
}

}  // namespace lockstep::drive
