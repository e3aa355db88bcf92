// SPDX-License-Identifier: Apache-2.0
// What a test case is, and the piece of virtual memory that it runs in.
//
// The sandbox is the same on the bare CPU (where it is mapped at these addresses in a child process) and in
// the guest (where page tables map it to shuffled frames). What isn't listed here is not mapped.
//
//     0x10000000  3 pages  read, execute              code
//     0x11000000  2 pages  read, write, execute       code that shares its pages with data
//     0x20000000  4 pages  read, write                data
//     0x20004000  1 page   read
//     0x20005000  absent
//     0x20006000  2 pages  read, write
//     2^46 + ...  2 pages  read, write                data that a 32-bit displacement can't reach
//
// A case runs from its rip until an exception. An undisturbed one ends with INT3.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/strong.h"
#include "cpu/cpu_state.h"

namespace lockstep::instructions {

inline constexpr uint64_t kCode = 0x10000000;
inline constexpr unsigned kCodePages = 3;
inline constexpr uint64_t kWritableCode = 0x11000000;
inline constexpr unsigned kWritableCodePages = 2;
inline constexpr uint64_t kData = 0x20000000;
inline constexpr uint64_t kReadOnly = 0x20004000;
inline constexpr uint64_t kAbsent = 0x20005000;
inline constexpr uint64_t kDataAfterHole = 0x20006000;
inline constexpr uint64_t kHigh = 0x500000000000;

struct SandboxPage {
    uint64_t address;
    bool writable;
    bool executable;
};

inline constexpr std::array<SandboxPage, 14> kSandbox{{
    {kCode, false, true},
    {kCode + 0x1000, false, true},
    {kCode + 0x2000, false, true},
    {kWritableCode, true, true},
    {kWritableCode + 0x1000, true, true},
    {kData, true, false},
    {kData + 0x1000, true, false},
    {kData + 0x2000, true, false},
    {kData + 0x3000, true, false},
    {kReadOnly, false, false},
    {kDataAfterHole, true, false},
    {kDataAfterHole + 0x1000, true, false},
    {kHigh, true, false},
    {kHigh + 0x1000, true, false},
}};

/// The contents of the sandbox's pages, in the order of kSandbox.
using Image = std::array<uint8_t, kSandbox.size() * kPageSize>;

/// Where in an Image an address is; empty where the sandbox has no page.
inline std::optional<size_t> image_offset(uint64_t address) {
    for (size_t page = 0; page < kSandbox.size(); ++page)
        if (address - kSandbox[page].address < kPageSize) return page * kPageSize + (address & kPageMask);
    return std::nullopt;
}

/// The contents before the patches of a case: a fixed mixture of numbers, floating-point values and
/// addresses.
const Image& base_image();

/// The registers that user code sees.
struct UserState {
    std::array<uint64_t, 16> gpr{};
    uint64_t rip = 0;
    uint64_t rflags = 0x202;
    uint64_t fs_base = 0;
    uint64_t gs_base = 0;
    cpu::FxState fx;
    cpu::UpperHalves upper_halves;
};

/// Bytes that a case puts over the base image.
struct Patch {
    uint64_t address;
    Bytes bytes;
};

struct AddressRange {
    uint64_t start;
    uint64_t size;
};

struct Case {
    std::string name;  ///< what to give to --case to repeat it
    UserState state;
    std::vector<Patch> patches;
    uint64_t code_start = 0;  ///< the code, for the disassembly
    unsigned code_size = 0;
    /// Flags that the manual leaves undefined and that the engine computes by itself
    uint64_t ignored_flags = 0;
    std::vector<AddressRange> ignored_memory;  ///< parts of an FXSAVE image that depend on the host's kernel
    /// FXSAVE and its kind: which byte of a missing page is named is up to the CPU
    bool large_operand = false;
    bool narrow_code = false;  ///< 32-bit code
    /// Single-step it on the bare CPU, to know the number of retired instructions
    bool count_instructions = false;
};

enum class Ending : uint8_t {
    kException,
    kTimeout,
    kUnknown,  ///< the oracle's host can't tell (Oracle::judges_any_stack())
};

/// What came out of a case; the same from the bare CPU and from the engine.
struct Outcome {
    Ending ending{};
    uint8_t vector = 0;
    uint32_t error_code = 0;
    uint64_t cr2 = 0;  ///< page faults only
    /// Instructions before the exception; on the bare CPU only where the case asked for it
    uint64_t retired = 0;
    UserState state;  ///< rip and rflags as the exception pushed them
    Image memory;
};

/// The image of a case: the base image with its patches.
void apply_patches(const Case& test_case, Image& image);

}  // namespace lockstep::instructions
