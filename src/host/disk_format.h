// SPDX-License-Identifier: Apache-2.0
// What an image file is, as far as its bytes tell: a raw disk, or a container that only looks like one.
#pragma once

#include <string>

#include "base/bytes.h"
#include "base/result.h"

namespace lockstep::host {

/// What image file `head` and `tail` belong to, and how to make a raw image of it. `head`: the first
/// kHeadBytes of the file, or all of it; `tail`: its last kTailBytes.
struct ImageFormat {
    std::string name;    ///< "qcow2"; empty: nothing that is known, so a raw disk
    std::string remedy;  ///< a command, with IN and OUT for the files
};
inline constexpr size_t kHeadBytes = 512, kTailBytes = 512;
ImageFormat recognise_image(ByteSpan head, ByteSpan tail);

/// Fails with a sentence where the image at `path` is a container, whose header a guest would take for the
/// disk's first sectors, and write to.
Result<void> check_image_is_raw(const std::string& path);

}  // namespace lockstep::host
