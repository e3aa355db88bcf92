// SPDX-License-Identifier: Apache-2.0
// How long a guest stands still while it is cloned, how fast it is meanwhile, and how much memory that takes: a
// bare-metal guest that has used all its memory, and a link that takes so many bytes a second and throws them away.
// The guest writes 500 MB/s at random places of all its memory, or runs a program that reads or writes (kernel.S).
//
//     clone_bench [--mib 512,4096,12288] [--load pages,reader,writer] [--link MB/s] [--pause N] [--no-rounds]
#include "memory/clone.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <time.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <fstream>
#include <mutex>
#include <sstream>
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

constexpr double kWorstPauseMs = 5, kLeastSpeed = 0.7, kMostMib = 64;
constexpr const char* kLoads[] = {"pages", "reader", "writer"};
constexpr double kSettleMs = 1500;  ///< until a program has the window
constexpr GuestPhys kCounter(0x1ff0000);

double ms_since(Clock::time_point start) {
    return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

/// Of this thread.
double processor_ms() {
    timespec time{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) * 1e3 + static_cast<double>(time.tv_nsec) / 1e6;
}

class NoSink : public bus::OutputSink {
  public:
    void output(bus::Output) override {}
};

/// Resident memory of this process.
double resident_mib() {
    uint64_t size = 0, pages = 0;
    std::ifstream("/proc/self/statm") >> size >> pages;
    return static_cast<double>(pages * kPageSize) / (1 << 20);
}

struct Wishes {
    std::vector<uint64_t> mib{512, 4096, 12288};
    std::vector<uint64_t> loads{0, 1, 2};  ///< which of kLoads
    double link_mb_s = 1250;               ///< 10 Gbit/s
    uint64_t pause = 17000;                ///< turns of the guest's loop between two pages
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
    Bench(uint64_t mib, uint64_t load, const Wishes& wishes) : mib_(mib), load_(load), wishes_(wishes) {
        Bytes program(clone_kernel, clone_kernel_end);
        uint64_t words[3] = {mib << 8, wishes.pause, load};
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
        while (done() < 1000) run_slice();
        measure(kSettleMs, [] { return false; });
        Speed before = measure(1000, [] { return false; });
        double mib_before = resident_mib();
        most_mib_ = mib_before;
        std::vector<double> pauses;
        double cut_ms = 0;
        Clock::time_point start = Clock::now();
        Sender* made = nullptr;
        auto clone = std::make_unique<Clone>(machine_->memory(), [&made] { made->wait_for_room(); });
        pauses.push_back(ms_since(start));
        Sender sender(*clone, wishes_.link_mb_s);
        made = &sender;
        Speed during = measure(600'000, [&] {
            if (++slices_ % 16 == 0) most_mib_ = std::max(most_mib_, resident_mib());
            if (!sender.is_waiting()) return sender.is_complete();
            Clock::time_point stood = Clock::now();
            if (wishes_.rounds && clone->another_round_pays()) {
                clone->next_round();
                pauses.push_back(ms_since(stood));
            } else {
                cut(*clone);
                cut_ms = ms_since(stood);
            }
            sender.go_on();
            return false;
        });
        double seconds = ms_since(start) / 1000;
        unsigned rounds = clone->progress().round;
        Clock::time_point end = Clock::now();
        clone.reset();
        pauses.push_back(ms_since(end));
        Speed after = measure(1000, [] { return false; });
        double worst = *std::ranges::max_element(pauses), more_mib = most_mib_ - mib_before;
        fmt::print(
            "{:>6} MiB {:>7} {:>6} {:>9.2f} {:>9.2f} {:>7.1f} {:>8.0f} {:>8.0f} {:>8.0f} {:>8.0f} {:>6.2f} "
            "{:>7.2f} {:>7} {:>8.1f}\n",
            mib_, kLoads[load_], rounds, cut_ms, worst, seconds, static_cast<double>(sender.bytes()) / 1e6,
            before.done, during.done, after.done, during.done / before.done,
            during.by_processor / before.by_processor, sender.waits(), more_mib);
        std::fflush(stdout);
        return cut_ms <= kWorstPauseMs && worst <= kWorstPauseMs &&
               during.done >= kLeastSpeed * before.done && more_mib <= kMostMib;
    }

  private:
    void cut(Clone& clone) {
        machine_->deliver(record::make_entry(machine_->icount(), 0, record::Cut{}));
        clone.cut();
        Bytes state;
        ByteWriter out(state);
        machine_->save_state(out);
    }
    uint64_t done() const { return machine_->memory().read_number<uint64_t>(kCounter); }
    void run_slice() {
        machine::Stop stop = machine_->run(machine_->icount() + 1'000'000);
        CHECK(stop == machine::Stop::kReached);
    }
    /// What the guest does: MB written in whole pages, or thousand turns of the program's loop.
    struct Speed {
        double done = 0;          ///< a second
        double by_processor = 0;  ///< a second of its thread's processor time
    };
    /// For so many ms, or until `over`.
    template <typename Over>
    Speed measure(double most_ms, Over over) {
        uint64_t before = done();
        double processor_before = processor_ms();
        Clock::time_point start = Clock::now();
        while (ms_since(start) < most_ms && !over()) run_slice();
        double unit = load_ == 0 ? static_cast<double>(kPageSize) / 1e3 : 1;
        double amount = static_cast<double>(done() - before) * unit;
        return {amount / ms_since(start), amount / (processor_ms() - processor_before)};
    }

    uint64_t mib_, load_;
    double most_mib_ = 0;
    uint64_t slices_ = 0;
    const Wishes& wishes_;
    NoSink sink_;
    std::unique_ptr<machine::Machine> machine_;
};

[[noreturn]] void usage() {
    fmt::print(stderr,
               "usage: clone_bench [--mib 512,4096] [--load {}] [--link MB/s] [--pause N] [--no-rounds]\n",
               fmt::join(kLoads, ","));
    std::exit(2);
}

std::vector<std::string> items_of(const std::string& list) {
    std::vector<std::string> items;
    std::istringstream in(list);
    for (std::string item; std::getline(in, item, ',');) items.push_back(item);
    return items;
}

uint64_t load_named(const std::string& name) {
    auto found = std::ranges::find(kLoads, name);
    if (found == std::end(kLoads)) usage();
    return static_cast<uint64_t>(found - std::begin(kLoads));
}

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
            for (const std::string& item : items_of(value)) wishes.mib.push_back(std::stoull(item));
        } else if (option == "--load") {
            wishes.loads.clear();
            for (const std::string& item : items_of(value)) wishes.loads.push_back(load_named(item));
        } else if (option == "--link") {
            wishes.link_mb_s = std::stod(value);
        } else if (option == "--pause") {
            wishes.pause = std::stoull(value);
        } else {
            usage();
        }
    }
    return wishes;
}

}  // namespace
}  // namespace lockstep

int main(int count, char** arguments) {
    using namespace lockstep;
    Wishes wishes = wishes_of(count, arguments);
    fmt::print(
        "link {:.0f} MB/s; bounds: each pause {} ms at most, speed {} of that before at least, {} MiB at "
        "most\n",
        wishes.link_mb_s, kWorstPauseMs, kLeastSpeed, kMostMib);
    fmt::print("{:>10} {:>7} {:>6} {:>9} {:>9} {:>7} {:>8} {:>8} {:>8} {:>8} {:>6} {:>7} {:>7} {:>8}\n",
               "memory", "load", "rounds", "cut ms", "other ms", "s", "sent MB", "before", "during", "after",
               "speed", "by CPU", "waits", "more MiB");
    bool good = true;
    for (uint64_t mib : wishes.mib)
        for (uint64_t load : wishes.loads) good &= Bench(mib, load, wishes).run();
    fmt::print("{}\n", good ? "within the bounds" : "NOT within the bounds");
    return good ? 0 : 1;
}
