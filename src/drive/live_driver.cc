// SPDX-License-Identifier: Apache-2.0
#include "drive/live_driver.h"

#include <algorithm>

#include "base/log.h"
#include "drive/checkpoint.h"

namespace lockstep::drive {

using machine::Stop;
using record::EntryKind;

namespace {

/// A halted guest's time is brought up to date before an input where it is behind by more than this.
constexpr uint64_t kWorthJumpNs = 20'000;

bool is_completion(EntryKind kind) {
    return kind == EntryKind::kDiskCompletion || kind == EntryKind::kRandomBytes;
}

}  // namespace

LiveDriver::LiveDriver(machine::Machine& machine, const LiveOptions& options, LogPos position,
                       const DriverCounts& counts, LiveListener& listener, uint64_t host_ns,
                       uint64_t behind_ns)
    : machine_(machine),
      options_(options),
      position_(position),
      counts_(counts),
      listener_(listener),
      next_hash_ns_(host_ns + options.hash_period_ns) {
    bool powers_on = machine.icount() == Icount(0);
    if (powers_on && behind_ns) jump(behind_ns);  // nothing has seen the time yet
    time_.start(host_ns, machine.guest_time_ns(), powers_on ? 0 : behind_ns);
}

void LiveDriver::add_input(Input input) {
    bool typed = input.kind == EntryKind::kConsoleInput;
    (typed ? typed_ : inputs_).push_back(std::move(input));
}

bool LiveDriver::takes_typed() const {
    return !typed_.empty() && typed_.front().payload.size() <= machine_.input_room(typed_.front().device);
}

void LiveDriver::append(std::shared_ptr<const record::Entry> entry) {
    LogPos position = position_;
    ++position_;
    listener_.entry_made(position, std::move(entry));
}

void LiveDriver::deliver(Input input) {
    auto entry = std::make_shared<const record::Entry>(
        record::Entry{input.kind, machine_.icount(), input.device, std::move(input.payload)});
    append(entry);
    machine_.deliver(*entry);
    halted_ = false;
}

void LiveDriver::deliver_inputs() {
    while (!inputs_.empty()) {
        Input input = std::move(inputs_.front());
        inputs_.pop_front();
        deliver(std::move(input));
    }
    while (takes_typed()) {
        Input input = std::move(typed_.front());
        typed_.pop_front();
        deliver(std::move(input));
    }
}

bool LiveDriver::reach_delivery() {
    while (!may_deliver_ && !off_) run(machine_.icount() + 1);
    return !off_;
}

bool LiveDriver::cut() {
    if (!reach_delivery()) return false;
    deliver(make_input(0, record::Cut{}));
    return true;
}

void LiveDriver::deliver_completions() {
    if (!reach_delivery()) return;
    std::deque<Input> later;
    for (Input& input : inputs_) {
        if (is_completion(input.kind))
            deliver(std::move(input));
        else
            later.push_back(std::move(input));
    }
    inputs_ = std::move(later);
}

void LiveDriver::output(bus::Output output) {
    LogPos position = position_;
    append(record::make_entry(machine_.icount(), output.device, record::OutputMark{counts_.outputs++}));
    listener_.output_made(position, std::move(output));
}

void LiveDriver::end(record::EndReason reason, const std::string& message) {
    append(record::make_entry(machine_.icount(), 0, record::EndMark{reason, message}));
}

void LiveDriver::checkpoint(bool all_memory) {
    HashScope scope = all_memory ? HashScope::kAll : HashScope::kSlice;
    append(record::make_entry(machine_.icount(), 0, make_checkpoint(machine_, options_.ram_bytes, scope)));
    last_hash_ = machine_.icount();
    if (log_enabled(LogLevel::kDebug))
        log_debug("state at the checkpoint {}:\n{}", position_.value(), machine_.describe());
}

void LiveDriver::checkpoint_if_due(uint64_t now_ns) {
    if (!options_.hash_period_ns || now_ns < next_hash_ns_) return;
    next_hash_ns_ = now_ns + options_.hash_period_ns;
    if (machine_.icount() != last_hash_) checkpoint(false);
}

void LiveDriver::steer(uint64_t now_ns) {
    std::optional<uint64_t> rate = time_.steer(now_ns, machine_.guest_time_ns(), counts_.rate);
    if (!rate) return;
    counts_.rate = *rate;
    deliver(make_input(0, record::TimeRate{*rate}));
}

void LiveDriver::jump(uint64_t ticks) { deliver(make_input(0, record::TimeAdvance{ticks})); }

Stop LiveDriver::run(Icount until) {
    Icount from = machine_.icount();
    Stop stop = machine_.run(until);
    halted_ = stop == Stop::kHalted;
    may_deliver_ = halted_ || machine_.icount() > from;
    if (stop == Stop::kReset) {
        machine_.reset();
        ++counts_.resets;
    }
    if (stop == Stop::kPowerOff) {
        off_ = true;
        if (options_.hash_period_ns) checkpoint(true);
        end(record::EndReason::kPowerOff, "the guest switched itself off");
    }
    return stop;
}

LiveDriver::Step LiveDriver::step(const std::function<uint64_t()>& clock, uint64_t glance_ns,
                                  uint64_t longest_ns) {
    if (off_) return {Next::kPowerOff};
    uint64_t before = clock();
    if (may_deliver_) {
        if (halted_) {
            Step next = halted(before);
            if (next.next == Next::kSleep) return next;
        }
        deliver_inputs();
        steer(before);
        checkpoint_if_due(before);
    }
    machine_.set_glance(glance_ns == kNoGlance ? kNoGlance : time_.instructions_in(glance_ns));
    Icount from = machine_.icount();
    Stop stop = run(from + time_.instructions_in(std::min(options_.slice_ns, longest_ns)));
    uint64_t after = clock();
    time_.ran(after - before, machine_.icount() - from);
    listener_.progress(machine_.icount());
    if (stop == Stop::kPowerOff) return {Next::kPowerOff};
    return {Next::kAgain};
}

// The guest is halted. It wakes up for an input, or when the host's clock has reached its next timer.
LiveDriver::Step LiveDriver::halted(uint64_t now_ns) {
    uint64_t guest_ns = machine_.guest_time_ns();
    uint64_t next_ns = machine_.next_timer_ns();
    time_.halted(now_ns, guest_ns);
    uint64_t behind = time_.advance(now_ns, guest_ns);
    bool timer_due = next_ns <= guest_ns + behind;
    if (!timer_due && inputs_.empty() && !takes_typed()) {
        if (next_ns == ~uint64_t{0}) return {Next::kSleep, ~uint64_t{0}};
        return {Next::kSleep, time_.host_time_of(next_ns)};
    }
    if (behind && (timer_due || behind >= kWorthJumpNs)) jump(behind);
    halted_ = false;
    return {Next::kAgain};
}

}  // namespace lockstep::drive
