// SPDX-License-Identifier: Apache-2.0
#include "devices/uart/uart.h"

#include <algorithm>
#include <utility>

#include "record/payloads.h"

namespace lockstep::devices {

namespace {

enum Register : uint64_t {
    kData,
    kInterruptEnable,
    kInterruptIdentification,  // read; FIFO control when written
    kLineControl,
    kModemControl,
    kLineStatus,
    kModemStatus,
    kScratch,
};

constexpr uint8_t kEnableReceived = 1, kEnableTransmitter = 2, kEnableLine = 4, kEnableModem = 8;
constexpr uint8_t kCauseModem = 0x0, kCauseNone = 0x1, kCauseTransmitter = 0x2, kCauseReceived = 0x4,
                  kCauseLine = 0x6, kCauseTimeout = 0xc;
constexpr uint8_t kFifoEnable = 1, kFifoClearReceive = 2;
constexpr uint8_t kDivisorLatch = 0x80;
constexpr uint8_t kLineDataReady = 1, kLineOverrun = 2, kLineTransmitterEmpty = 0x60;
// Modem status: a terminal is always connected.
constexpr uint8_t kConnected = 0xb0;

constexpr size_t kTriggerLevels[] = {1, 4, 8, 14};

}  // namespace

Uart::Uart(uint16_t number, bus::InterruptLine& line, bus::TimerQueue& timers, bus::OutputSink& sink)
    : number_(number),
      line_(line),
      timers_(timers),
      flush_timer_(timers.add([this] { flush(); })),
      fill_timer_(timers.add([this] {
          state_.fill_deadline_ns = bus::kNeverNs;
          fill_fifo();
          update_line();
      })),
      sink_(sink) {}

void Uart::reset() {
    state_ = {};
    timers_.disarm(flush_timer_);
    timers_.disarm(fill_timer_);
    update_line();
}

Result<void> Uart::loaded() {
    if (state_.fifo > kFifoBytes || state_.fifo > state_.received.size())
        return error("the saved state of {} is damaged", name());
    timers_.arm(fill_timer_, state_.fill_deadline_ns);
    timers_.arm(flush_timer_, state_.flush_deadline_ns);
    return {};
}

void Uart::input(const record::Entry& entry) {
    Result<record::ConsoleInput> input = record::decode<record::ConsoleInput>(entry);
    if (!input) return;
    for (uint8_t byte : input.value().bytes) receive(byte);
    fill_fifo();
    update_line();
}

bool Uart::held_off() const {
    constexpr uint8_t kTerminalReady = 1, kRequestToSend = 2;
    return (state_.modem_control & (kTerminalReady | kRequestToSend)) == kTerminalReady;
}

size_t Uart::input_room() const {
    return held_off() ? 0 : kReceiveLimit - std::min(state_.received.size(), kReceiveLimit);
}

void Uart::receive(uint8_t byte) {
    if (state_.received.size() >= kReceiveLimit)
        state_.overrun = true;
    else
        state_.received.push_back(byte);
}

void Uart::fill_fifo() {
    if (held_off() || state_.fill_deadline_ns != bus::kNeverNs) return;
    size_t depth = state_.fifo_control & kFifoEnable ? kFifoBytes : 1;
    state_.fifo = static_cast<uint8_t>(std::min(state_.received.size(), depth));
}

void Uart::drop_received() {
    state_.received.clear();
    state_.fifo = 0;
    state_.fill_deadline_ns = bus::kNeverNs;
    timers_.disarm(fill_timer_);
}

void Uart::transmit(uint8_t byte) {
    state_.transmit_interrupt = true;
    if (loopback()) {
        receive(byte);
        return fill_fifo();
    }
    if (state_.gathered.empty()) {
        state_.flush_deadline_ns = timers_.now_ns() + kGatherNs;
        timers_.arm(flush_timer_, state_.flush_deadline_ns);
    }
    state_.gathered.push_back(byte);
    if (state_.gathered.size() >= kGatherLimit) flush();
}

void Uart::flush() {
    if (state_.gathered.empty()) return;
    state_.flush_deadline_ns = bus::kNeverNs;
    timers_.disarm(flush_timer_);
    sink_.output({number_, bus::ConsoleBytes{std::exchange(state_.gathered, {})}});
}

uint8_t Uart::interrupt_cause() const {
    uint8_t enabled = state_.interrupt_enable;
    if (enabled & kEnableLine && state_.overrun) return kCauseLine;
    if (enabled & kEnableReceived && state_.fifo) {
        bool fifo = state_.fifo_control & kFifoEnable;
        return !fifo || state_.fifo >= kTriggerLevels[state_.fifo_control >> 6] ? kCauseReceived
                                                                                : kCauseTimeout;
    }
    if (enabled & kEnableTransmitter && state_.transmit_interrupt) return kCauseTransmitter;
    if (enabled & kEnableModem && state_.modem_delta) return kCauseModem;
    return kCauseNone;
}

// OUT2 connects the port's interrupt to the line, as on a PC; the loop-back test mode cuts it off.
void Uart::update_line() {
    line_.set_level(interrupt_cause() != kCauseNone && state_.modem_control & 8 && !loopback());
}

uint8_t Uart::read_data() {
    if (state_.fifo == 0) return 0;
    uint8_t byte = state_.received.front();
    state_.received.pop_front();
    if (--state_.fifo == 0 && !state_.received.empty()) {
        state_.fill_deadline_ns = timers_.now_ns() + kFillNs;
        timers_.arm(fill_timer_, state_.fill_deadline_ns);
    }
    return byte;
}

uint8_t Uart::read_interrupt_identification() {
    uint8_t cause = interrupt_cause();
    if (cause == kCauseTransmitter) state_.transmit_interrupt = false;
    return cause | (state_.fifo_control & kFifoEnable ? 0xc0 : 0);
}

uint8_t Uart::line_status() {
    uint8_t status = kLineTransmitterEmpty;
    if (state_.fifo) status |= kLineDataReady;
    if (std::exchange(state_.overrun, false)) status |= kLineOverrun;
    return status;
}

// In loop-back the four outputs DTR, RTS, OUT1, OUT2 are the inputs DSR, CTS, RI, DCD.
uint8_t Uart::modem_lines() const {
    if (!loopback()) return kConnected;
    uint8_t control = state_.modem_control;
    return static_cast<uint8_t>((control & 2) << 3 | (control & 1) << 5 | (control & 4) << 4 |
                                (control & 8) << 4);
}

uint8_t Uart::modem_status() { return modem_lines() | std::exchange(state_.modem_delta, 0); }

void Uart::write_interrupt_enable(uint8_t value) {
    bool transmitter_now = value & kEnableTransmitter && !(state_.interrupt_enable & kEnableTransmitter);
    state_.interrupt_enable = value & 0xf;
    if (transmitter_now) state_.transmit_interrupt = true;
}

void Uart::write_fifo_control(uint8_t value) {
    bool toggled = (value ^ state_.fifo_control) & kFifoEnable;
    if (toggled || value & kFifoClearReceive) drop_received();
    state_.fifo_control = value & 0xc9;
}

void Uart::write_modem_control(uint8_t value) {
    uint8_t before = modem_lines();
    state_.modem_control = value & 0x1f;
    fill_fifo();
    uint8_t changed = (before ^ modem_lines()) >> 4;
    // The ring indicator counts only when it ends.
    if (changed & 4 && modem_lines() & 0x40) changed &= ~4;
    state_.modem_delta |= changed;
}

uint64_t Uart::read_register(uint64_t offset, unsigned size) {
    if (size != 1) return ~uint64_t{0};
    bool latch = state_.line_control & kDivisorLatch;
    uint8_t value = 0;
    switch (offset) {
        case kData:
            value = latch ? static_cast<uint8_t>(state_.divisor) : read_data();
            break;
        case kInterruptEnable:
            value = latch ? static_cast<uint8_t>(state_.divisor >> 8) : state_.interrupt_enable;
            break;
        case kInterruptIdentification:
            value = read_interrupt_identification();
            break;
        case kLineControl:
            value = state_.line_control;
            break;
        case kModemControl:
            value = state_.modem_control;
            break;
        case kLineStatus:
            value = line_status();
            break;
        case kModemStatus:
            value = modem_status();
            break;
        case kScratch:
            value = state_.scratch;
            break;
    }
    update_line();
    return value;
}

void Uart::write_register(uint64_t offset, unsigned size, uint64_t wide) {
    if (size != 1) return;
    uint8_t value = static_cast<uint8_t>(wide);
    bool latch = state_.line_control & kDivisorLatch;
    switch (offset) {
        case kData:
            if (latch)
                state_.divisor = static_cast<uint16_t>((state_.divisor & 0xff00) | value);
            else
                transmit(value);
            break;
        case kInterruptEnable:
            if (latch)
                state_.divisor = static_cast<uint16_t>((state_.divisor & 0xff) | value << 8);
            else
                write_interrupt_enable(value);
            break;
        case kInterruptIdentification:
            write_fifo_control(value);
            break;
        case kLineControl:
            state_.line_control = value;
            break;
        case kModemControl:
            write_modem_control(value);
            break;
        case kScratch:
            state_.scratch = value;
            break;
    }
    update_line();
}

}  // namespace lockstep::devices
