// SPDX-License-Identifier: Apache-2.0
// The serial port: a 16550A (National Semiconductor data sheet), without line speed: a byte written has left,
// a byte that arrived is there.
//
// Bytes leave as kConsoleBytes outputs. Since every output costs a log entry, they are gathered: an output is
// made once kGatherLimit bytes wait, or kGatherNs of guest time after the first of them.
#pragma once

#include <deque>

#include "bus/timer_queue.h"
#include "devices/device_state.h"

namespace lockstep::devices {

inline constexpr uint16_t kUartPort = 0x3f8;
inline constexpr uint16_t kUartPorts = 8;
inline constexpr unsigned kUartPin = 4;

struct UartState {
    uint8_t interrupt_enable = 0;
    uint8_t fifo_control = 0;
    uint8_t line_control = 0;
    uint8_t modem_control = 0;
    uint8_t modem_delta = 0;  ///< low half of the modem status
    uint8_t scratch = 0;
    uint16_t divisor = 12;
    bool transmit_interrupt = false;  ///< the transmitter became empty, not yet told
    bool overrun = false;
    std::deque<uint8_t> received;  ///< what is in the FIFO, and behind it what is on the line
    uint8_t fifo = 0;              ///< bytes in the FIFO
    uint64_t fill_deadline_ns = bus::kNeverNs;
    Bytes gathered;
    uint64_t flush_deadline_ns = bus::kNeverNs;
    template <typename Codec>
    void fields(Codec& codec) {
        codec(interrupt_enable, fifo_control, line_control, modem_control, modem_delta, scratch, divisor,
              transmit_interrupt, overrun, received, fifo, fill_deadline_ns, gathered, flush_deadline_ns);
    }
};

class Uart : public StateDevice<UartState>, public bus::RegisterHandler {
  public:
    static constexpr size_t kGatherLimit = 1024;
    static constexpr uint64_t kGatherNs = 1'000'000;
    /// Input beyond this many unread bytes is lost, as on a real line; who has more waits for room.
    static constexpr size_t kReceiveLimit = 8192;

    /// What the guest finds at once, with FIFOs on. A driver reads in its interrupt until nothing is left, so there must
    /// be an end to that: the next bytes come some guest time after it has read these.
    static constexpr uint8_t kFifoBytes = 16;
    static constexpr uint64_t kFillNs = 50'000;

    Uart(uint16_t number, bus::InterruptLine& line, bus::TimerQueue& timers, bus::OutputSink& sink);

    /// Makes an output of the gathered bytes now.
    void flush();

    std::string_view name() const override { return "uart"; }
    void reset() override;
    void input(const record::Entry& entry) override;
    /// None while the guest holds the other end off by its RTS line.
    size_t input_room() const override;
    uint64_t read_register(uint64_t offset, unsigned size) override;
    void write_register(uint64_t offset, unsigned size, uint64_t value) override;

  protected:
    Result<void> loaded() override;

  private:
    bool loopback() const { return state_.modem_control >> 4 & 1; }
    bool held_off() const;
    void receive(uint8_t byte);
    void fill_fifo();
    void drop_received();
    void transmit(uint8_t byte);
    uint8_t interrupt_cause() const;
    void update_line();
    uint8_t read_data();
    uint8_t read_interrupt_identification();
    uint8_t line_status();
    uint8_t modem_lines() const;
    uint8_t modem_status();
    void write_interrupt_enable(uint8_t value);
    void write_fifo_control(uint8_t value);
    void write_modem_control(uint8_t value);

    const uint16_t number_;
    bus::InterruptLine& line_;
    bus::TimerQueue& timers_;
    bus::TimerQueue::Id flush_timer_, fill_timer_;
    bus::OutputSink& sink_;
};

}  // namespace lockstep::devices
