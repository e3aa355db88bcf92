// SPDX-License-Identifier: Apache-2.0
// Replays the log of a guest and clones it all the time: a sender on another thread takes the pages while the log goes
// on. The copy must be the guest as it was at the cut, and come to the guest's state when it has the same entries. Then
// the replay goes on with the copy in place of the guest.
//
//     clone_replay LOG [SEED]
//
// The log's own state hashes aren't compared: each cut clears the TLB, which the recorded guest has kept.
#include <fmt/format.h>

#include <atomic>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "base/check.h"
#include "drive/replayer.h"
#include "host/files.h"
#include "machine/machine.h"
#include "memory/clone.h"
#include "memory/page_loader.h"
#include "record/log_stream.h"
#include "vmm/file_recording.h"
#include "vmm/machine_factory.h"

namespace lockstep {
namespace {

/// A machine, and its replay of the log.
class Guest : private bus::OutputSink {
  public:
    explicit Guest(const SharedBytes& configuration) {
        machine_ = factory_.create(configuration, {}, *this, ram_bytes_).take();
    }
    machine::Machine& machine() { return *machine_; }
    drive::Replayer& replayer() { return *replayer_; }
    uint64_t ram_bytes() const { return ram_bytes_; }
    void start(LogPos position, const drive::DriverCounts& counts) {
        replayer_.emplace(*machine_, ram_bytes_, position, counts, aborted_);
    }

  private:
    void output(bus::Output) override {
        if (replayer_) replayer_->count_output();
    }

    std::atomic<bool> aborted_ = false;
    vmm::RealMachineFactory factory_;
    uint64_t ram_bytes_ = 0;
    std::unique_ptr<machine::Machine> machine_;
    std::optional<drive::Replayer> replayer_;
};

/// Takes all pages, and waits for the guest's thread where that has to move the clone on.
class Sender {
  public:
    Sender(memory::Clone& clone, memory::GuestMemory& into)
        : thread_([this, &clone, &into] { send(clone, into); }) {}
    ~Sender() { thread_.join(); }
    Sender(const Sender&) = delete;
    Sender& operator=(const Sender&) = delete;

    bool is_waiting() const { return waiting_; }
    bool is_complete() const { return complete_; }
    void go_on() {
        waiting_ = false;
        waiting_.notify_one();
    }

  private:
    void send(memory::Clone& clone, memory::GuestMemory& into) {
        memory::PageLoader loader(into);
        Bytes records;
        for (;;) {
            records.clear();
            memory::Clone::Taken taken = clone.take(records, 64 << 10);
            CHECK(taken != memory::Clone::Taken::kVoid && loader.take(records).ok());
            std::this_thread::sleep_for(std::chrono::microseconds(20));  // as a link would
            if (taken == memory::Clone::Taken::kComplete) break;
            if (taken != memory::Clone::Taken::kRound) continue;
            waiting_ = true;
            waiting_.wait(true);
        }
        complete_ = true;
    }

    std::atomic<bool> waiting_ = false, complete_ = false;
    std::thread thread_;
};

std::string text_of(const machine::StateHash& hash) {
    return fmt::format("registers {:x} memory {:x} devices {:x}", hash.registers, hash.memory, hash.devices);
}

class CloneReplay {
  public:
    explicit CloneReplay(uint64_t seed) : random_(seed) {}

    /// False: `why()`.
    bool run(const std::string& path) {
        host::MappedFile file = host::MappedFile::open(path).take();
        record::Identity ours = vmm::own_identity().take();
        ours.builds = record::BuildRule::kAny;
        record::LogReader reader(ours);
        reader.feed(file.bytes());
        for (;;) {
            auto frame = reader.next();
            if (!frame) return fail(frame.error().message());
            if (!frame.value()) break;
            if (auto* start = std::get_if<record::StartInfo>(&frame.value()->content)) {
                CHECK(start->origin == record::Origin::kFreshBoot, "a log of a guest from its power-on");
                configuration_ = start->configuration;
                guest_ = std::make_unique<Guest>(configuration_);
                guest_->start(frame.value()->header.position(), {});
            }
            if (auto* batch = std::get_if<record::EntryBatch>(&frame.value()->content))
                for (const record::Entry& entry : batch->entries)
                    if (!take(entry)) return false;
        }
        return finish_clone() && clones_ > 0;
    }
    const std::string& why() const { return why_; }
    unsigned clones() const { return clones_; }
    uint64_t pages_after_cuts() const { return pages_after_cuts_; }

  private:
    static constexpr uint64_t kSlice = 300'000;       ///< instructions between two looks at the sender
    static constexpr uint64_t kBetween = 60'000'000;  ///< between two clones

    bool fail(const std::string& why) {
        why_ = fmt::format("clone {}: {}", clones_, why);
        return false;
    }
    /// As far as the copies go: what the recorded guest's memory was is no matter.
    static bool is_skipped(const record::Entry& entry) { return entry.kind == record::EntryKind::kStateHash; }

    bool take(const record::Entry& entry) {
        if (is_skipped(entry) || over_) return true;
        while (guest_->machine().icount() + kSlice < entry.icount) {
            auto result = guest_->replayer().run_to(guest_->machine().icount() + 1 + random_() % kSlice);
            if (result != drive::ReplayResult::kDone) return differs(*guest_, "the guest");
            if (!move_clone_on()) return false;
        }
        drive::ReplayResult result = guest_->replayer().apply(entry);
        if (cut_) since_cut_.push_back(entry);
        over_ = result == drive::ReplayResult::kPowerOff || result == drive::ReplayResult::kEnded;
        if (result == drive::ReplayResult::kDiverged) return differs(*guest_, "the guest");
        return move_clone_on();
    }
    bool differs(Guest& guest, const char* who) {
        auto& found = guest.replayer().divergence();
        return fail(fmt::format("{} left the log: {}", who, found ? found->sentence : "no reason given"));
    }

    bool move_clone_on() {
        Icount now = guest_->machine().icount();
        if (!clone_) {
            if (now >= next_clone_ && !over_) begin_clone();
            return true;
        }
        if (sender_->is_complete()) return finish_clone();
        if (!sender_->is_waiting()) return true;
        if (rounds_ > 0) {
            --rounds_;
            clone_->next_round();
        } else {
            cut();
        }
        sender_->go_on();
        return true;
    }

    void begin_clone() {
        ++clones_;
        rounds_ = 1 + random_() % 3;
        copy_ = std::make_unique<Guest>(configuration_);
        clone_ =
            std::make_unique<memory::Clone>(guest_->machine().memory(), [] { std::this_thread::yield(); });
        sender_ = std::make_unique<Sender>(*clone_, copy_->machine().memory());
    }
    void cut() {
        machine::Machine& machine = guest_->machine();
        machine.deliver(record::make_entry(machine.icount(), 0, record::Cut{}));
        at_cut_ = machine.hash();
        position_ = guest_->replayer().position();
        counts_ = guest_->replayer().counts();
        state_.clear();
        ByteWriter out(state_);
        machine.save_state(out);
        clone_->cut();
        pages_after_cuts_ += clone_->progress().left;
        cut_ = true;
    }

    bool finish_clone() {
        if (!clone_) return true;
        while (!sender_->is_complete()) {  // the log has ended
            if (!sender_->is_waiting()) continue;
            if (!cut_) cut();
            sender_->go_on();
        }
        sender_.reset();
        clone_.reset();
        ByteReader in(state_);
        if (Result<void> loaded = copy_->machine().load_state(in); !loaded)
            return fail(loaded.error().message());
        machine::StateHash copied = copy_->machine().hash();
        if (copied != at_cut_)
            return fail(fmt::format("the copy has {}, the guest had {}", text_of(copied), text_of(at_cut_)));
        copy_->start(position_, counts_);
        for (const record::Entry& entry : since_cut_)
            if (copy_->replayer().apply(entry) == drive::ReplayResult::kDiverged)
                return differs(*copy_, "the copy");
        if (copy_->machine().icount() < guest_->machine().icount())
            copy_->replayer().run_to(guest_->machine().icount());
        if (copy_->machine().hash() != guest_->machine().hash())
            return fail(fmt::format("at {} the copy has {}, the guest {}", guest_->machine().icount().value(),
                                    text_of(copy_->machine().hash()), text_of(guest_->machine().hash())));
        guest_ = std::move(copy_);
        since_cut_.clear();
        cut_ = false;
        next_clone_ = guest_->machine().icount() + random_() % kBetween;
        return true;
    }

    std::mt19937_64 random_;
    SharedBytes configuration_;
    std::unique_ptr<Guest> guest_, copy_;
    std::unique_ptr<memory::Clone> clone_;
    std::unique_ptr<Sender> sender_;
    Icount next_clone_{20'000'000};
    unsigned clones_ = 0, rounds_ = 0;
    bool cut_ = false, over_ = false;
    machine::StateHash at_cut_;
    LogPos position_;
    drive::DriverCounts counts_;
    Bytes state_;
    std::vector<record::Entry> since_cut_;
    uint64_t pages_after_cuts_ = 0;
    std::string why_;
};

}  // namespace
}  // namespace lockstep

int main(int count, char** arguments) {
    using namespace lockstep;
    if (count < 2) {
        fmt::print(stderr, "usage: clone_replay LOG [SEED]\n");
        return 2;
    }
    uint64_t seed = count > 2 ? std::stoull(arguments[2]) : 1;
    CloneReplay replay(seed);
    bool good = replay.run(arguments[1]);
    fmt::print("{} clones, {} pages were still to go out at their cuts\n", replay.clones(),
               replay.pages_after_cuts());
    if (!good) fmt::print("{}\nrepeat: clone_replay {} {}\n", replay.why(), arguments[1], seed);
    return good ? 0 : 1;
}
