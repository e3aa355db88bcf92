// SPDX-License-Identifier: Apache-2.0
#include "lockstep/command_line.h"
#include "toy_machine.h"

int main(int argc, char** argv) {
    lockstep::vmm::testing::ToyFactory factory;
    return lockstep::run_command_line(argc, argv, factory);
}
