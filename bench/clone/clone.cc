// SPDX-License-Identifier: Apache-2.0
// How long a guest stands still while it is cloned, and how fast it is meanwhile: a bare-metal guest that writes
// 500 MB/s at random places of all its memory, and a link that takes so many bytes a second and throws them away.
//
//     clone_bench [--mib 512,4096,12288] [--link MB/s] [--pause N] [--no-rounds]
#include "memory/clone.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "../../tests/machine/small_kernel.h"
#include "base/check.h"
#include "machine/machine.h"
#include "record/payloads.h"

extern "C" const uint8_t clone_kernel[], clone_kernel_end[];

namespace lockstep {
namespace {

using Clock = std::chrono::steady_clock;
using memory::Clone;

constexpr double kWorstPauseMs = 5, kLeastSpeed = 0.7;
constexpr GuestPhys kCounter(0x1ff0000);

double ms_since(Clock::time_point start) {
    return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

class NoSink : public bus::OutputSink {
  public:
    void output(bus::Output) override {}
};

struct Wishes {
    std::vector<uint64_t> mib{512, 4096, 12288};
    double link_mb_s = 1250;  ///< 10 Gbit/s
    uint64_t pause = 17000;   ///< turns of the guest's loop between two pages
    bool rounds = true;
};

/// Takes the clone's pages at the link's speed, and asks the guest's thread to move the clone on.
class Sender {
  public:
    Sender(Clone& clone, double mb_s) : clone_(clone), mb_s_(mb_s), thread_([this] { send(); }) {}
    ~Sender() { thread_.join(); }
    Sender(const Sender&) = delete;
    Sender& operator=(const Sender&) = delete;

    bool is_waiting() const { return waiting_; }
    bool is_complete() const { return complete_; }
    uint64_t bytes() const { return bytes_; }
    void go_on() {
        {
            std::lock_guard lock(mutex_);
            waiting_ = false;
        }
        changed_.notify_one();
    }
    /// For the guest's thread, while the queue is full.
    void wait_for_room() {
        ++waits_;
        std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
    uint64_t waits() const { return waits_; }

  private:
    void send() {
        Bytes records;
        Clock::time_point start = Clock::now();
        for (;;) {
            records.clear();
            Clone::Taken taken = clone_.take(records, 256 << 10);
            CHECK(taken != Clone::Taken::kVoid);
            bytes_ += records.size();
            std::this_thread::sleep_until(
                start + std::chrono::duration_cast<Clock::duration>(
                            std::chrono::duration<double>(static_cast<double>(bytes_) / (mb_s_ * 1e6))));
            if (taken == Clone::Taken::kComplete) break;
            if (taken != Clone::Taken::kRound) continue;
            std::unique_lock lock(mutex_);
            waiting_ = true;
            changed_.wait(lock, [this] { return !waiting_; });
        }
        complete_ = true;
    }

    Clone& clone_;
    double mb_s_;
    std::mutex mutex_;
    std::condition_variable changed_;
    std::atomic<bool> waiting_ = false, complete_ = false;
    std::atomic<uint64_t> bytes_ = 0;
    uint64_t waits_ = 0;
    std::thread thread_;
};

class Bench {
  public:
    Bench(uint64_t mib, const Wishes& wishes) : mib_(mib), wishes_(wishes) {
        Bytes program(clone_kernel, clone_kernel_end);
        uint64_t words[2] = {mib << 8, wishes.pause};
        std::memcpy(program.data() + program.size() - sizeof words, words, sizeof words);
        machine::MachineConfig config;
        config.memory_bytes = mib << 20;
        config.kernel = machine::make_kernel(program);
        Result<std::unique_ptr<machine::Machine>> made = machine::Machine::create(config, {}, sink_);
        CHECK(made.ok(), "{}", made.error().message());
        machine_ = made.take();
    }

    /// Prints a line; whether it is within the bounds.
    bool run() {
        while (written() < 1000) run_slice();
        double before = speed(1000, [] { return false; });
        std::vector<double> pauses;
        double cut_ms = 0;
        size_t state_bytes = 0;
        Clock::time_point start = Clock::now();
        Sender* made = nullptr;
        auto clone = std::make_unique<Clone>(machine_->memory(), [&made] { made->wait_for_room(); });
        pauses.push_back(ms_since(start));
        Sender sender(*clone, wishes_.link_mb_s);
        made = &sender;
        bool cut = false;
        double during = speed(600'000, [&] {
            if (!sender.is_waiting()) return sender.is_complete();
            Clock::time_point stood = Clock::now();
            if (wishes_.rounds && clone->another_round_pays()) {
                clone->next_round();
                pauses.push_back(ms_since(stood));
            } else {
                CHECK(!cut);
                cut = true;
                machine_->deliver(record::make_entry(machine_->icount(), 0, record::Cut{}));
                clone->cut();
                Bytes state;
                ByteWriter out(state);
                machine_->save_state(out);
                cut_ms = ms_since(stood);
                state_bytes = state.size();
            }
            sender.go_on();
            return false;
        });
        double seconds = ms_since(start) / 1000;
        unsigned rounds = clone->progress().round;
        Clock::time_point end = Clock::now();
        clone.reset();
        pauses.push_back(ms_since(end));
        double after = speed(1000, [] { return false; });
        double worst = *std::ranges::max_element(pauses);
        fmt::print(
            "{:>6} MiB {:>6} {:>9.2f} {:>9.2f} {:>8} {:>7.1f} {:>8.0f} {:>8.0f} {:>8.0f} {:>8.0f} {:>6.2f} "
            "{:>7}\n",
            mib_, rounds, cut_ms, worst, state_bytes, seconds, static_cast<double>(sender.bytes()) / 1e6,
            before, during, after, during / before, sender.waits());
        std::fflush(stdout);
        return cut_ms <= kWorstPauseMs && worst <= kWorstPauseMs && during >= kLeastSpeed * before;
    }

  private:
    uint64_t written() const { return machine_->memory().read_number<uint64_t>(kCounter); }
    void run_slice() {
        machine::Stop stop = machine_->run(machine_->icount() + 1'000'000);
        CHECK(stop == machine::Stop::kReached);
    }
    /// MB/s that the guest writes, for so many ms or until `over`.
    template <typename Over>
    double speed(double most_ms, Over over) {
        uint64_t before = written();
        Clock::time_point start = Clock::now();
        while (ms_since(start) < most_ms && !over()) run_slice();
        return static_cast<double>((written() - before) * kPageSize) / 1e3 / ms_since(start);
    }

    uint64_t mib_;
    const Wishes& wishes_;
    NoSink sink_;
    std::unique_ptr<machine::Machine> machine_;
};

Wishes wishes_of(int count, char** arguments) {
    Wishes wishes;
    for (int i = 1; i < count; ++i) {
        std::string option = arguments[i];
        std::string value = i + 1 < count ? arguments[i + 1] : "";
        if (option == "--no-rounds") {
            wishes.rounds = false;
            continue;
        }
        ++i;
        if (option == "--mib") {
            wishes.mib.clear();
            for (size_t at = 0; at < value.size();
                 at = value.find(',', at) == std::string::npos ? value.size() : value.find(',', at) + 1)
                wishes.mib.push_back(std::stoull(value.substr(at)));
        } else if (option == "--link") {
            wishes.link_mb_s = std::stod(value);
        } else if (option == "--pause") {
            wishes.pause = std::stoull(value);
        } else {
            fmt::print(stderr,
                       "usage: clone_bench [--mib 512,4096] [--link MB/s] [--pause N] [--no-rounds]\n");
            std::exit(2);
        }
    }
    return wishes;
}

}  // namespace
}  // namespace lockstep

int main(int count, char** arguments) {
    using namespace lockstep;
    Wishes wishes = wishes_of(count, arguments);
    fmt::print("link {:.0f} MB/s; bounds: each pause {} ms at most, speed {} of that before at least\n",
               wishes.link_mb_s, kWorstPauseMs, kLeastSpeed);
    fmt::print("{:>10} {:>6} {:>9} {:>9} {:>8} {:>7} {:>8} {:>8} {:>8} {:>8} {:>6} {:>7}\n", "memory",
               "rounds", "cut ms", "other ms", "state B", "s", "sent MB", "before", "during", "after",
               "speed", "waits");
    bool good = true;
    for (uint64_t mib : wishes.mib) good &= Bench(mib, wishes).run();
    fmt::print("{}\n", good ? "within the bounds" : "NOT within the bounds");
    return good ? 0 : 1;
}
