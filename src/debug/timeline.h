// SPDX-License-Identifier: Apache-2.0
// A recording as one walks about in it, forwards and backwards.
//
// Terms
//   present    the machine that registers and memory are read from
//   ring       copies of it that were left behind on the way, at equal distances. Where they are too many every
//              second one goes, and the distance doubles: so they always lie all over what has been seen
//
// To go back to an icount is to fork the copy before it, and to run that on. To find the last stop before a place the
// stretches between copies are run with the stops in force, the latest first, until one has some.
//
// For the last WRITE that would take long: where programs and kernel use other data on the same page all the time each
// such access is a slow one. So what was written is found by its value: copies know at once between which two of them
// the guest's memory changed last, and that stretch is halved again and again by runs at full speed. What is changed
// and changed back within one stretch isn't seen by that; therefore the stretch before the place, kExact instructions,
// is run with the stops first.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "debug/copy.h"
#include "debug/place.h"

namespace lockstep::debug {

struct TimelineOptions {
    vmm::LogPlayer::Options player;
    unsigned copies = 64;            ///< of the ring at most
    uint64_t distance = 50'000'000;  ///< instructions between two of them at first
    Interruption interruption;
};

class Timeline {
  public:
    /// Instructions before a place that are run with write stops in force.
    static constexpr uint64_t kExact = 2'000'000;

    /// Stands where the recording begins.
    static Result<std::unique_ptr<Timeline>> open(const std::string& path, vmm::MachineFactory& factory,
                                                  const TimelineOptions& options);

    void set_interruption(const Interruption& interruption) { options_.interruption = interruption; }
    Icount icount() const { return present_->icount(); }
    Icount begin() const { return ring_.front()->icount(); }
    Copy& present() { return *present_; }
    size_t copies() const { return ring_.size(); }

    /// To a place, wherever it lies.
    Result<Arrival> go(Icount place);
    /// One instruction, with the data stops in force.
    Result<Arrival> step(const Stops& stops);
    Result<Arrival> step_back(const Stops& stops);
    /// On to the next stop, or the end.
    Result<Arrival> run(const Stops& stops);
    /// Back to the last stop: the place before the instruction that has it, or that writes there.
    Result<Arrival> run_back(const Stops& stops);
    /// Back to the place before the last change of this linear memory, as it lies in the guest's memory now.
    Result<Arrival> last_change(uint64_t at, uint64_t size);

  private:
    explicit Timeline(const TimelineOptions& options) : options_(options) {}
    Result<Arrival> advance(Icount until, const Stops& stops);
    Result<void> leave_copy();
    /// The latest that isn't behind the place.
    Copy& before(Icount place);
    Result<std::unique_ptr<Copy>> copy_before(Icount place) { return before(place).fork(); }
    /// Makes the present one of those before it; the next step back is a short way then.
    Result<Arrival> go_back(Icount place);
    void stay_near(std::unique_ptr<Copy> copy);
    /// The last of the stops in [from, until).
    Result<Arrival> last_stop(Icount from, Icount until, const Stops& stops);
    Result<Arrival> last_change(const std::vector<Range>& ranges, Icount until);
    Result<Arrival> last_change_between(const std::vector<Range>& ranges, Cursor::Change change);

    TimelineOptions options_;
    std::unique_ptr<Copy> present_;
    std::vector<std::unique_ptr<Copy>> ring_;  ///< by icount; the first is where the recording begins
    std::vector<std::unique_ptr<Copy>> near_;  ///< shortly before places that it went back to of late
};

}  // namespace lockstep::debug
