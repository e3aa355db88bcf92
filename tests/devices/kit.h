// SPDX-License-Identifier: Apache-2.0
// What a device meets in a machine, as plain things that a test can look at.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "bus/device.h"
#include "bus/timer_queue.h"
#include "memory/guest_memory.h"
#include "record/payloads.h"

namespace lockstep::devices {

class TestLine : public bus::InterruptLine {
  public:
    void set_level(bool asserted) override {
        rises += asserted && !level;
        level = asserted;
    }
    bool level = false;
    int rises = 0;
};

struct Message {
    uint64_t address;
    uint32_t data;
    bool operator==(const Message&) const = default;
};

class TestMessages : public bus::MessageInterrupts {
  public:
    void deliver_message(uint64_t address, uint32_t data) override { sent.push_back({address, data}); }
    std::vector<Message> sent;
};

class TestSink : public bus::OutputSink {
  public:
    void output(bus::Output output) override { outputs.push_back(std::move(output)); }
    std::vector<bus::Output> outputs;
};

/// Guest time at one tick an instruction: icounts are nanoseconds.
class TestTime : public bus::IcountSource {
  public:
    Icount icount() const override { return now; }
    /// Lets time pass, firing every timer at its own time.
    void pass(uint64_t ns) {
        Icount end = now + ns;
        while (timers.next_event() <= end) {
            now = std::max(now, timers.next_event());
            timers.run_due();
        }
        now = end;
    }

    Icount now{1000};
    bus::VirtualClock clock;
    bus::TimerQueue timers{clock, *this};
};

inline std::unique_ptr<memory::GuestMemory> make_memory() {
    auto memory = memory::GuestMemory::create(4 << 20);
    EXPECT_TRUE(memory.ok());
    return memory.take();
}

inline Bytes saved(const bus::Device& device) {
    Bytes bytes;
    ByteWriter out(bytes);
    device.save(out);
    return bytes;
}

/// Loads; everything must have been read.
inline testing::AssertionResult loads(bus::Device& device, ByteSpan bytes) {
    ByteReader in(bytes);
    Result<void> result = device.load(in);
    if (!result.ok()) return testing::AssertionFailure() << result.error().message();
    if (in.remaining()) return testing::AssertionFailure() << in.remaining() << " bytes left";
    return testing::AssertionSuccess();
}

template <typename Payload>
record::Entry entry(uint16_t device, const Payload& payload) {
    return record::make_entry(Icount(0), device, payload);
}

}  // namespace lockstep::devices
