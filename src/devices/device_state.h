// SPDX-License-Identifier: Apache-2.0
// A device whose guest-visible state is one plain struct with a list of fields (record/fields.h).
#pragma once

#include "base/result.h"
#include "bus/device.h"
#include "record/fields.h"

namespace lockstep::devices {

/// Saves `state_` and loads it. A device that owns timers or caches rebuilds them in loaded().
template <typename State>
class StateDevice : public bus::Device {
  public:
    void save(ByteWriter& out) const override { record::write_fields(out, state_); }
    Result<void> load(ByteReader& in) override {
        State state;
        TRY(record::read_fields(in, state, name()));
        state_ = std::move(state);
        return loaded();
    }

  protected:
    /// After state_ was replaced: refuses a state that the device can't be in, and rebuilds what follows from
    /// it.
    virtual Result<void> loaded() { return {}; }

    State state_;
};

}  // namespace lockstep::devices
