// SPDX-License-Identifier: Apache-2.0
// What nearly every test includes, compiled once (see CMakeLists.txt).
#pragma once

#include <gtest/gtest.h>

#include "../cmake/precompiled.h"
