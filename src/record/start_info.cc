// SPDX-License-Identifier: Apache-2.0
#include "record/start_info.h"

namespace lockstep::record {

Result<StartInfo> StartInfo::decode(ByteSpan body) {
    StartInfo start = TRY(decode_fields<StartInfo>(body, "the start frame's body"));
    if (start.origin != Origin::kFreshBoot && start.origin != Origin::kSnapshot) {
        return error("origin {} of the log is unknown to this format version",
                     static_cast<int>(start.origin));
    }
    return start;
}

std::string incompatible(const StartInfo& start, const Identity& ours) {
    std::string build = ours.builds == BuildRule::kAny ? std::string() : difference(start.build, ours.build);
    return build.empty() ? difference(start.cpu, ours.cpu) : build;
}

}  // namespace lockstep::record
