// SPDX-License-Identifier: Apache-2.0
#include "host/limits.h"
#include "lockstep/command_line.h"
#include "vmm/machine_factory.h"

int main(int argc, char** argv) {
    lockstep::host::return_large_allocations();
    lockstep::vmm::RealMachineFactory factory;
    return lockstep::run_command_line(argc, argv, factory);
}
