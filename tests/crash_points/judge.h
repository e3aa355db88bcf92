// SPDX-License-Identifier: Apache-2.0
// What becomes of a guest whose owner has died at one entry of its log.
#pragma once

#include <atomic>

#include "scene.h"

namespace lockstep::crash_points {

struct Death {
    enum class Way : uint8_t {
        kEdge,    ///< when the backup has the log up to the entry, and all has left that may
        kAtOnce,  ///< when the entry is made; what is under way to the backup may be lost
    };
    Way way;
    uint64_t entry;
    uint64_t seed;
};

/// What all children have looked at.
struct Tally {
    std::atomic<uint64_t> at_edge = 0, outputs = 0, writes = 0, issued_again = 0, hashes = 0, operations = 0;
};

class Judge {
  public:
    Judge(Scene& scene, const Death& death, Tally& tally)
        : scene_(scene), world_(scene.world()), death_(death), tally_(tally) {}

    /// Has the owner die, and looks at the rest. False: see World::failure().
    bool all_is_well() {
        return dies() && goes_live() && agrees_with_what_left() && work_goes_on() && disk_is_right();
    }

  private:
    bool dies();
    bool goes_live();
    bool agrees_with_what_left();
    bool work_goes_on();
    bool disk_is_right();
    bool well() const { return world_.failure().empty(); }

    Scene& scene_;
    World& world_;
    Death death_;
    Tally& tally_;
};

}  // namespace lockstep::crash_points
