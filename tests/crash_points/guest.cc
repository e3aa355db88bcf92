// SPDX-License-Identifier: Apache-2.0
#include "guest.h"

#include <algorithm>
#include <type_traits>

#include "base/check.h"
#include "base/hash.h"
#include "side.h"
#include "vmm/clone_pages.h"

namespace lockstep::crash_points {

namespace {

/// A processor that executes an instruction in so many ns. It is slower than a real one: an outage then lasts fewer of
/// them.
constexpr uint64_t kInstructionNs = 4;
constexpr uint64_t kSliceNs = 100'000;
constexpr uint64_t kHashNs = 5'000'000;
constexpr uint64_t kReplaySlice = kSliceNs / kInstructionNs;
constexpr uint64_t kCodeCacheBytes = 64 << 20;

uint64_t contents_of(const bus::Output& output) {
    Bytes bytes;
    ByteWriter out(bytes);
    out.varint(output.device);
    out.varint(output.what.index());
    std::visit(
        [&](const auto& what) {
            using What = std::decay_t<decltype(what)>;
            if constexpr (std::is_same_v<What, bus::Packets>) {
                for (ByteSpan packet : what.views()) out.blob(packet);
            } else if constexpr (std::is_same_v<What, bus::DiskRequest>) {
                for (uint64_t field :
                     {what.number, static_cast<uint64_t>(what.operation), what.offset, what.size})
                    out.varint(field);
                out.blob(what.data);
            } else if constexpr (std::is_same_v<What, bus::ConsoleBytes>) {
                out.blob(what.bytes);
            } else if constexpr (std::is_same_v<What, bus::RandomRequest>) {
                out.varint(what.number);
            } else {
                for (bool one : {what.checksum, what.tcp4, what.tcp6, what.ecn}) out.fixed(one);
            }
        },
        output.what);
    return hash64(bytes);
}

}  // namespace

Micros Guest::time_of(uint64_t instructions) const { return instructions * kInstructionNs / 1000 + 1; }

uint64_t Guest::outputs() const {
    return live_ ? live_->counts().outputs : replayer_ ? replayer_->counts().outputs : counts_.outputs;
}

// --- What is asked of it ---

void Guest::ask(std::function<void()> work) {
    work_.push_back(std::move(work));
    wake();
}

void Guest::add_input(drive::Input input) {
    ask([this, input = std::move(input)] {
        if (live_) live_->add_input(input);
    });
}

void Guest::make(SharedBytes configuration, pair::MadeFor purpose) {
    ask([this, configuration, purpose] {
        auto made = [&]() -> Result<void> {
            machine::MachineConfig config = TRY(machine::MachineConfig::load(configuration));
            ram_bytes_ = config.memory_bytes;
            translate::EngineOptions options{.code_cache_bytes = kCodeCacheBytes, .forks = true};
            machine_ = TRY(machine::Machine::create(config, options, *this));
            if (purpose == pair::MadeFor::kCopy)
                loader_ = std::make_unique<memory::PageLoader>(machine_->memory());
            return {};
        }();
        side_.session().on_made(made);
    });
}

void Guest::load_state(Bytes state) {
    ask([this, state = std::move(state)] {
        loader_.reset();
        auto loaded = [&]() -> Result<void> {
            counts_ = TRY(drive::load_without_memory(*machine_, state));
            came_here_ = true;
            for (const bus::Output& request : machine_->unanswered()) remember(0, LogPos(0), request);
            made_.clear();
            return {};
        }();
        side_.session().on_loaded(loaded);
    });
}

void Guest::start_replay(LogPos position) {
    ask([this, position] {
        replayer_ = std::make_unique<drive::Replayer>(*machine_, ram_bytes_, position, counts_, never_);
    });
}

void Guest::replay(std::vector<record::Entry> entries, Icount complete) {
    ask([this, entries = std::move(entries), complete] {
        chunks_.push_back({{entries.begin(), entries.end()}, complete});
    });
}

void Guest::go_live(LogPos position, uint64_t behind_ns) {
    ask([this, position, behind_ns] {
        counts_.outputs = outputs();
        if (replayer_) counts_ = replayer_->counts();
        replayer_.reset();
        chunks_.clear();
        drive::LiveListener& listener = *this;
        live_ = std::make_unique<drive::LiveDriver>(
            *machine_, drive::LiveOptions{.ram_bytes = ram_bytes_, .slice_ns = kSliceNs}, position, counts_,
            listener, timeline_.now_ns(), behind_ns);
        side_.session().on_unanswered(machine_->unanswered());
    });
}

void Guest::pause(uint64_t number) {
    ask([this, number] {
        paused_ = true;
        live_->deliver_completions();
        hand_over();
        side_.session().on_paused(number, machine_->icount());
    });
}

void Guest::settle(uint64_t number) {
    ask([this, number] {
        live_->deliver_completions();
        hand_over();
        side_.session().on_settled(number);
    });
}

void Guest::resume() {
    ask([this] { paused_ = false; });
}

// --- Its copy, which is made while it runs ---

void Guest::start_clone(uint64_t number) {
    ask([this, number] {
        clone_ = std::make_unique<memory::Clone>(machine_->memory(), [this] { clone_->cancel(); });
        side_.session().on_round(number);
    });
}

pair::Taken Guest::take_pages(Bytes& out, size_t bytes) { return vmm::take_pages(*clone_, out, bytes); }

void Guest::next_round(uint64_t number) {
    ask([this, number] {
        clone_->next_round();
        side_.session().on_round(number);
    });
}

void Guest::cut(uint64_t number) {
    ask([this, number] {
        if (!live_->cut()) return side_.fail("the guest is off");
        clone_->cut();
        hand_over();
        live_->set_hash_period(kHashNs);
        made_.clear();
        side_.session().on_cut(number, machine_->icount(),
                               drive::save_without_memory(*machine_, live_->counts()));
    });
}

void Guest::end_clone() {
    ask([this] { clone_.reset(); });
}

// --- Turns ---

void Guest::wake(Micros pause) {
    Micros at = std::max(timeline_.now() + pause, busy_until_);
    if (turn_at_ && *turn_at_ <= at) return;
    turn_at_ = at;
    timeline_.after(at - timeline_.now(), side_.id(), [this, turn = ++turn_] {
        if (turn == turn_) this->turn();
    });
}

void Guest::turn() {
    turn_at_.reset();
    if (frozen_) return;
    hand_over();
    while (!work_.empty() && !frozen_) {
        std::function<void()> work = std::move(work_.front());
        work_.pop_front();
        work();
    }
    hand_over();
    if (frozen_) return;
    if (live_)
        live_turn();
    else if (replayer_ && !chunks_.empty())
        replay_turn();
}

void Guest::live_turn() {
    if (paused_) return;
    Icount from = machine_->icount();
    uint64_t begin_ns = timeline_.now_ns();
    auto clock = [&] { return begin_ns + (machine_->icount() - from) * kInstructionNs; };
    drive::LiveDriver::Step step = live_->step(clock);
    if (step.next == drive::LiveDriver::Next::kPowerOff)
        return side_.fail("the guest has switched itself off");
    if (step.next == drive::LiveDriver::Next::kSleep) {
        side_.session().on_batch_end(replica::Flush::kNow);
        uint64_t now_ns = timeline_.now_ns();
        if (step.wake_ns != ~uint64_t{0})
            wake(step.wake_ns > now_ns ? (step.wake_ns - now_ns + 999) / 1000 : 0);
        return;
    }
    busy_until_ = timeline_.now() + time_of(machine_->icount() - from);
    wake();
}

void Guest::replay_turn() {
    Icount from = machine_->icount();
    drive::ReplayResult result = replay_some();
    if (result == drive::ReplayResult::kDiverged) {
        const drive::Divergence& found = *replayer_->divergence();
        return side_.session().on_divergence(found.sentence, found.position, found.icount, found.parts);
    }
    produced_.push_back(Replayed{replayer_->position(), machine_->icount()});
    busy_until_ = timeline_.now() + time_of(machine_->icount() - from);
    wake();
}

drive::ReplayResult Guest::replay_some() {
    Icount enough = machine_->icount() + kReplaySlice;
    auto result = drive::ReplayResult::kDone;
    while (!chunks_.empty() && machine_->icount() < enough && result == drive::ReplayResult::kDone) {
        Chunk& chunk = chunks_.front();
        if (chunk.entries.empty()) {
            result = replayer_->catch_up(chunk.complete);
            chunks_.pop_front();
            continue;
        }
        result = replayer_->apply(chunk.entries.front());
        chunk.entries.pop_front();
    }
    return result;
}

// --- What it makes ---

void Guest::output(bus::Output output) {
    if (live_) return live_->output(std::move(output));
    if (!replayer_) {
        ++counts_.outputs;
        return;
    }
    remember(replayer_->counts().outputs, LogPos(0), output);
    replayer_->count_output();
    produced_.push_back(OutputMade{replayer_->position(), std::move(output)});
}

void Guest::entry_made(LogPos position, std::shared_ptr<const record::Entry> entry) {
    produced_.push_back(EntryMade{position, std::move(entry)});
}

void Guest::output_made(LogPos position, bus::Output output) {
    remember(live_->counts().outputs - 1, position, output);
    outputs_made_ = outputs_made_ || bus::changes_outside(output);
    produced_.push_back(OutputMade{position, std::move(output)});
}

void Guest::remember(uint64_t number, LogPos entry, const bus::Output& output) {
    made_.push_back({number, entry, contents_of(output)});
    const auto* request = came_here_ ? output.as<bus::DiskRequest>() : nullptr;
    if (request && request->operation == bus::DiskOperation::kWrite && output.device == machine::kFirstDisk)
        writes_.push_back(*request);
}

/// An output is told right behind its entry, so that a process may die after both and before the next.
void Guest::hand_over() {
    bool live = live_ != nullptr;
    if (produced_.empty()) return;
    while (!produced_.empty() && !frozen_) {
        auto made = std::move(produced_.front());
        produced_.pop_front();
        if (auto* entry = std::get_if<EntryMade>(&made)) {
            bool has_output = entry->entry->kind == record::EntryKind::kOutput && !produced_.empty();
            side_.entry_comes(entry->position);
            side_.session().on_entry(entry->position, *entry->entry);
            if (!has_output) side_.entry_told(entry->position);
        } else if (auto* one = std::get_if<OutputMade>(&made)) {
            if (live) {
                side_.session().on_output(one->position, timeline_.now_ns(), std::move(one->output));
                side_.entry_told(one->position);
            } else {
                side_.session().on_replayed_output(one->position, std::move(one->output));
            }
        } else if (auto* done = std::get_if<Replayed>(&made)) {
            side_.session().on_replayed(done->position, done->icount);
        }
    }
    if (!live || frozen_) return;
    side_.session().on_progress(machine_->icount());
    bool waits = std::exchange(outputs_made_, false);
    side_.session().on_batch_end(waits ? replica::Flush::kNow : replica::Flush::kIfDue);
}

}  // namespace lockstep::crash_points
