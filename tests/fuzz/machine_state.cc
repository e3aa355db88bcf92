// SPDX-License-Identifier: Apache-2.0
// A machine's saved state, as a new backup is sent it and a recording begins with it. What loads is the state of a
// machine: it saves to bytes that load to the same, and what the machine does with them harms nobody else.
#include "../machine/small_kernel.h"
#include "machine/machine.h"
#include "target.h"

namespace lockstep::machine {
namespace {

class NoSink : public bus::OutputSink {
  public:
    void output(bus::Output) override {}
};

Bytes saved(Machine& machine) {
    Bytes bytes;
    ByteWriter out(bytes);
    machine.save(out);
    return bytes;
}

std::unique_ptr<Machine> make_machine() {
    static NoSink sink;
    MachineConfig config;
    config.memory_bytes = 64 << 20;
    config.kernel = make_kernel(SMALL_KERNEL(timer));
    config.disks.push_back({1 << 20, false, "fuzz"});
    config.networks.emplace_back();
    Result<std::unique_ptr<Machine>> made = Machine::create(config, {}, sink);
    CHECK(made.ok());
    return made.take();
}

}  // namespace
}  // namespace lockstep::machine

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace lockstep;
    static std::unique_ptr<machine::Machine> machine = machine::make_machine();
    ByteReader in(ByteSpan(data, size));
    if (!machine->load(in).ok()) return 0;
    Bytes state = machine::saved(*machine);
    ByteReader again(state);
    CHECK(machine->load(again).ok(), "a state that a machine has saved is refused");
    CHECK(machine::saved(*machine) == state, "a state changes when it is saved and loaded");
    return 0;
}
