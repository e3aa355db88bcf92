// SPDX-License-Identifier: Apache-2.0
// Belongs to precompiled.h: a target needs a source.
