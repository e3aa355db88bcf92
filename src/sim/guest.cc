// SPDX-License-Identifier: Apache-2.0
#include "sim/guest.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "sim/process.h"
#include "sim/toy_output.h"
#include "sim/world.h"

namespace lockstep::sim {

using record::EntryKind;

namespace {
constexpr Micros kReplayStep = 3 * kMillisecond;
/// Guest instructions in a microsecond at full speed.
constexpr uint64_t kInstructionsPerMicro = 1;
constexpr Micros kLongestLoad = 40 * kMillisecond, kCareful = 1000 * kMillisecond;
}  // namespace

// --- Work ---

void Guest::post(std::function<void()> work, Micros longest) {
    work_.push_back({world_.random().between(0, longest), std::move(work)});
    schedule_work();
}

void Guest::schedule_work() {
    if (works_ || work_.empty()) return;
    works_ = true;
    world_.after(work_.front().takes, process_.id(), [this] {
        works_ = false;
        Work work = std::move(work_.front());
        work_.pop_front();
        work.run();
        if (process_.alive()) schedule_work();
    });
}

void Guest::make(SharedBytes, pair::MadeFor) {
    post([this] { process_.session().on_made({}); }, kLongestLoad);
}

Result<void> Guest::load_pages(ByteSpan records) {
    sim::load_pages(machine_, records);
    return {};
}

void Guest::load_state(Bytes state) {
    post(
        [this, state = std::move(state)] {
            ByteReader in(state);
            copy_of_ = in.varint();
            machine_.load_state(in);
            process_.session().on_loaded({});
        },
        kLongestLoad);
}

void Guest::start_replay(LogPos position) {
    received_ = position + given_;
    post([this, position] {
        const std::vector<ToyEntry>& log = world_.history_of(copy_of_);
        CHECK(log.size() >= position.value(), "a copy of a log that isn't there");
        history_.assign(log.begin(), log.begin() + static_cast<ptrdiff_t>(position.value()));
        mode_ = Mode::kReplaying;
        schedule_replay();
    });
}

void Guest::replay(std::vector<record::Entry> entries, Icount complete) {
    given_ += entries.size();
    received_ = received_ + entries.size();
    post(
        [this, entries = std::move(entries), complete] {
            for (const record::Entry& entry : entries) to_replay_.push_back(from_entry(entry));
            complete_ = std::max(complete_, complete);
            schedule_replay();
        },
        kMillisecond);
}

void Guest::go_live(LogPos position, uint64_t) {
    process_.packets_sent_again();
    mode_ = Mode::kIdle;  // what isn't replayed by now never will be
    post([this, position] {
        CHECK(position.value() == history_.size(), "a process goes live at {} of {} entries",
              position.value(), history_.size());
        to_replay_.clear();
        made_.clear();
        machine_.take_outputs();
        mode_ = Mode::kLive;
        std::vector<bus::Output> requests;
        for (const ToyOutput& output : machine_.in_flight()) requests.push_back(to_output(output));
        process_.session().on_unanswered(requests);
        if (std::exchange(careful_, false))
            world_.after(kCareful, process_.id(), [this] { process_.session().on_care_over(); });
        schedule_slice();
    });
}

void Guest::pause(uint64_t number) {
    if (process_.replica().state() == replica::State::kProtected) ++world_.counts().full_buffers;
    post([this, number] {
        paused_ = true;
        deliver_completions();
        process_.session().on_paused(number, machine_.icount());
        hand_over_batch(std::exchange(outputs_made_, false));
    });
}

void Guest::settle(uint64_t number) {
    post([this, number] {
        deliver_completions();
        process_.session().on_settled(number);
        hand_over_batch(std::exchange(outputs_made_, false));
    });
}

void Guest::resume() {
    post([this] {
        paused_ = false;
        schedule_slice();
    });
}

void Guest::set_speed(uint32_t permille) {
    ++world_.counts().slow_downs;
    post([this, permille] { speed_permille_ = permille; });
}

void Guest::be_careful() {
    ++world_.counts().careful;
    careful_ = true;
}

// --- The copy of an owner's guest ---

void Guest::start_clone(uint64_t number) {
    ++world_.counts().copies;
    post([this, number] {
        clone_.emplace(world_, machine_);
        process_.session().on_round(number);
    });
}

pair::Taken Guest::take_pages(Bytes& out, size_t bytes) {
    CHECK(clone_, "pages of a copy that nobody makes");
    return clone_->take(out, bytes);
}

void Guest::next_round(uint64_t number) {
    post([this, number] {
        clone_->next_round();
        process_.session().on_round(number);
    });
}

void Guest::cut(uint64_t number) {
    post([this, number] {
        if (mode_ != Mode::kLive || machine_.off()) return;
        append(EntryKind::kCut, {});
        clone_->cut();
        if (world_.planted(replica::PlantedBug::kLateState))
            post([this, number] { report_cut(number); }, 10 * kMillisecond);
        else
            report_cut(number);
    });
}

void Guest::report_cut(uint64_t number) {
    Bytes state;
    ByteWriter out(state);
    out.varint(process_.id());
    machine_.save_state(out);
    process_.session().on_cut(number, machine_.icount(), std::move(state));
    hand_over_batch(std::exchange(outputs_made_, false));
}

void Guest::end_clone() {
    post([this] { clone_.reset(); });
}

// --- An owner's guest ---

std::vector<ToyEntry> Guest::requests_from(LogPos entry) const {
    std::vector<ToyEntry> requests;
    auto add = [&](const ToyEntry& one) {
        if (one.kind == EntryKind::kNetworkReceive) requests.push_back({one.kind, {}, one.numbers});
    };
    for (size_t i = entry.value(); i < history_.size(); ++i) add(history_[i]);
    for (const ToyEntry& input : inputs_) add(input);
    return requests;
}

void Guest::add_input(const ToyEntry& input) {
    inputs_.push_back(input);
    if (paused_ && input.kind == EntryKind::kDiskCompletion)
        post([this] {
            if (paused_) deliver_completions();
            hand_over_batch(std::exchange(outputs_made_, false));
        });
}

void Guest::schedule_slice() {
    if (mode_ != Mode::kLive || paused_ || std::exchange(slicing_, true)) return;
    Micros length = world_.random().between(2 * kMillisecond, 6 * kMillisecond);
    world_.after(length, process_.id(), [this, length] {
        slicing_ = false;
        if (mode_ != Mode::kLive || paused_) return;
        machine_.run(machine_.icount() + length * kInstructionsPerMicro * speed_permille_ / 1000);
        slice();
        if (process_.alive()) schedule_slice();
    });
}

/// The end of a slice: inputs are delivered, what was made is handed over.
void Guest::slice() {
    take_outputs();
    while (!inputs_.empty() && !machine_.off()) {
        ToyEntry entry = inputs_.front();
        inputs_.pop_front();
        deliver(entry);
    }
    if (++slices_ % 16 == 0) append(EntryKind::kStateHash, {machine_.hash(), 0, 0});
    if (machine_.off()) {
        mode_ = Mode::kOff;
        append(EntryKind::kEnd, {});
        process_.session().on_guest_off();
    }
    process_.session().on_progress(machine_.icount());
    hand_over_batch(std::exchange(outputs_made_, false));
}

void Guest::hand_over_batch(bool outputs_made) {
    process_.session().on_batch_end(outputs_made ? replica::Flush::kNow : replica::Flush::kIfDue);
}

LogPos Guest::append(EntryKind kind, std::array<uint64_t, 3> numbers) {
    LogPos position(history_.size());
    history_.push_back({kind, machine_.icount(), numbers});
    process_.session().on_entry(position, to_entry(history_.back()));
    return position;
}

void Guest::deliver(ToyEntry entry) {
    entry.icount = machine_.icount();
    append(entry.kind, entry.numbers);
    machine_.deliver(entry);
    take_outputs();
}

/// Of a guest that stands still.
void Guest::deliver_completions() {
    if (mode_ != Mode::kLive || machine_.off()) return;
    std::deque<ToyEntry> later;
    for (const ToyEntry& entry : std::exchange(inputs_, {})) {
        if (entry.kind == EntryKind::kDiskCompletion)
            deliver(entry);
        else
            later.push_back(entry);
    }
    inputs_.insert(inputs_.begin(), later.begin(), later.end());
}

void Guest::take_outputs() {
    for (const ToyOutput& output : machine_.take_outputs()) {
        LogPos entry = append(EntryKind::kOutput, {output.number, 0, 0});
        outputs_made_ = true;
        process_.session().on_output(entry, process_.now_ns(), to_output(output));
    }
}

// --- A backup's guest ---

void Guest::schedule_replay() {
    if (mode_ != Mode::kReplaying || std::exchange(replaying_, true)) return;
    world_.after(world_.random().between(kMillisecond, kReplayStep), process_.id(), [this] {
        replaying_ = false;
        if (mode_ == Mode::kReplaying) replay_some();
    });
}

void Guest::replay_some() {
    uint64_t budget = kReplayStep * kInstructionsPerMicro * replay_permille_ / 1000;
    Icount limit = machine_.icount() + budget;
    while (!to_replay_.empty() && to_replay_.front().icount <= limit) {
        machine_.run(to_replay_.front().icount);
        replay_entry(to_replay_.front());
        to_replay_.pop_front();
    }
    Icount end = to_replay_.empty() ? complete_ : to_replay_.front().icount;
    machine_.run(std::min(limit, end));
    bool more = !to_replay_.empty() || (machine_.icount() < complete_ && !machine_.off());
    process_.session().on_replayed(LogPos(history_.size()), machine_.icount());
    if (process_.alive() && more) schedule_replay();
}

void Guest::replay_entry(const ToyEntry& entry) {
    history_.push_back(entry);
    machine_.deliver(entry);
    for (const ToyOutput& output : machine_.take_outputs()) made_.push_back(output);
    if (entry.kind == EntryKind::kOutput) {
        bool same = !made_.empty() && made_.front().number == entry.numbers[0];
        if (!same) return world_.checker().diverged(process_.id());
        process_.session().on_replayed_output(LogPos(history_.size() - 1), to_output(made_.front()));
        made_.pop_front();
    }
    if (entry.kind == EntryKind::kStateHash && entry.numbers[0] != machine_.hash())
        world_.checker().diverged(process_.id());
}

}  // namespace lockstep::sim
