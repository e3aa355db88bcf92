// SPDX-License-Identifier: Apache-2.0
#include "host/file_descriptor.h"

#include <unistd.h>

namespace lockstep::host {

void FileDescriptor::reset() {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

}  // namespace lockstep::host
