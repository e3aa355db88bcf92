// SPDX-License-Identifier: Apache-2.0
// What a fuzz target is: a function that is given bytes, and neither crashes nor breaks a promise (CHECK) whatever they
// are. Its name is libFuzzer's.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/bytes.h"
#include "base/check.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
