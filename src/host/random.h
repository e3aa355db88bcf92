// SPDX-License-Identifier: Apache-2.0
// Random bytes of the host, for the guest's random number device and for names that must be unique.
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace lockstep::host {

/// Fills `out` from the kernel's generator (getrandom).
void fill_random(std::span<uint8_t> out);

/// 16 hexadecimal digits that nobody else has drawn.
std::string random_name();

}  // namespace lockstep::host
