// SPDX-License-Identifier: Apache-2.0
// Where CPUs differ at a fault and the manuals are silent: what a comparison with the bare CPU must leave
// out.
//
// The engine does the same on every host, so it can be like one maker's CPUs only. Each row of the table in
// cpu_models.cc is a case that was seen on real CPUs.
#pragma once

#include "sandbox.h"

namespace lockstep::instructions {

/// What is left out of a comparison.
struct LeftOut {
    bool everything = false;       ///< the case ended differently, rightly so on both sides
    bool fault_address = false;    ///< which byte of the operand a page fault names
    bool vectors = false;          ///< the XMM and YMM registers
    bool mxcsr = false;            ///< its flags
    bool x87 = false;              ///< the x87 and MMX registers, with their status
    bool upper_registers = false;  ///< the upper halves of RCX, RSI and RDI
    bool memory = false;           ///< what a store of several steps had written before it faulted
};

LeftOut left_out(const Case& test_case, const Outcome& expected, const Outcome& actual);

}  // namespace lockstep::instructions
