// SPDX-License-Identifier: Apache-2.0
// Random instructions, for as long as one likes.
//
//     instruction_fuzzer                          a minute at most, always the same cases
//     instruction_fuzzer --seconds=3600 --seed=0  an hour, from a new seed, which is printed
//     instruction_fuzzer --seed=5                 from this one
//     instruction_fuzzer --case=random:123        one case, as a failure prints it
//
// Two halves of the time: user code that the bare CPU can judge, and any code at both privilege levels, which must
// come to the same end in every configuration of the engine, however it is stopped.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <charconv>
#include <chrono>
#include <cstdlib>
#include <random>

#include "base/check.h"
#include "differential.h"
#include "fuzz_machine.h"
#include "generate.h"
#include "run_tests.h"

namespace lockstep::instructions {
namespace {

using Clock = std::chrono::steady_clock;

struct Arguments {
    uint64_t seconds = 60;
    /// Always the same cases, so that a failure is the change's; 0: a new seed, by hand.
    uint64_t seed = 20'000'000;
    /// Cases of either half: without --seconds a fast machine isn't given others than a slow one.
    uint64_t most_cases = 200'000;
    std::string one_case;
};
Arguments arguments;
Oracle* oracle = nullptr;  // started by main(), before the engines reserve address space

/// The name of the case that runs, where the parent finds it when this process has died.
using CaseName = std::array<char, 64>;
CaseName* running = nullptr;
void note_case(const std::string& name) {
    std::snprintf(running->data(), running->size(), "%s", name.c_str());
}

bool is_fuzzed(const guests::EngineConfiguration& configuration) {
    for (std::string_view name : {"default", "window", "single", "plain"})
        if (configuration.name == name) return true;
    return false;
}

/// Cases beginning with the seed, for half of the time, in portions.
template <typename Run>
uint64_t run_portions(Run&& run) {
    constexpr uint64_t kPortion = 256;
    Clock::time_point end = Clock::now() + std::chrono::milliseconds(arguments.seconds * 500);
    uint64_t done = 0;
    for (; Clock::now() < end && done < arguments.most_cases; done += kPortion)
        for (uint64_t i = 0; i < kPortion; ++i)
            if (!run(arguments.seed + done + i)) return done + i;
    return done;
}

TEST(InstructionFuzzer, UserCodeAsOnTheBareCpu) {
    if (!arguments.one_case.empty()) GTEST_SKIP();
    Differential differential(*oracle, {.wanted = is_fuzzed, .note = note_case});
    // What it found before.
    for (uint64_t seed : {614633592}) differential.add(generate_random_case(seed), std::to_string(seed));
    uint64_t made = run_portions([&](uint64_t seed) {
        Case test_case = generate_random_case(seed);
        if (can_be_judged(test_case)) differential.add(std::move(test_case), std::to_string(seed));
        return !differential.silent();
    });
    differential.flush();
    std::printf("%lu random cases made, %lu judged by the bare CPU\n", made, differential.judged());
    EXPECT_EQ(differential.summary(), "") << "failing cases";
    EXPECT_GT(differential.judged(), made / 10);
}

/// What is being run, for the message of a failed check.
const FuzzCase* current_fuzz_case = nullptr;
const FuzzMachine* current_machine = nullptr;
void print_current_fuzz_case() {
    if (current_fuzz_case)
        std::fprintf(stderr, "engine %s, %s", current_machine->name().data(),
                     describe(*current_fuzz_case).c_str());
}

/// The same code in engines that have nothing in common, with stops and without.
class Comparison {
  public:
    Comparison() {
        for (const guests::EngineConfiguration& configuration : guests::kEngineConfigurations)
            if (is_fuzzed(configuration)) machines_.push_back(std::make_unique<FuzzMachine>(configuration));
        replay_ = std::make_unique<FuzzMachine>(guests::kEngineConfigurations[0]);
        set_dump_hook(print_current_fuzz_case);
    }
    ~Comparison() { set_dump_hook(print_current_case); }

    /// False: enough failures have been shown.
    bool run(uint64_t seed) {
        FuzzCase fuzz_case = generate_fuzz_case(seed);
        note_case(fuzz_case.name);
        current_fuzz_case = &fuzz_case;
        FuzzMachine& first = *machines_.front();
        run(first, fuzz_case, Stops::kNone);
        executed_ += first.executed();
        for (auto& machine : std::span(machines_).subspan(1)) {
            run(*machine, fuzz_case, Stops::kNone);
            check(fuzz_case, *machine, "");
        }
        run(*replay_, fuzz_case, Stops::kRandom);
        check(fuzz_case, *replay_, ", with stops");
        current_fuzz_case = nullptr;
        return failures_ < 12;
    }

    uint64_t executed() const { return executed_; }

  private:
    static void run(FuzzMachine& machine, const FuzzCase& fuzz_case, Stops stops) {
        current_machine = &machine;
        machine.run(fuzz_case, stops);
    }

    void check(const FuzzCase& fuzz_case, const FuzzMachine& machine, std::string_view how) {
        std::string differences = machines_.front()->compare(machine);
        if (differences.empty()) return;
        ++failures_;
        ADD_FAILURE() << describe(fuzz_case) << machines_.front()->name() << " against " << machine.name()
                      << how << ":\n"
                      << differences;
    }

    std::vector<std::unique_ptr<FuzzMachine>> machines_;
    std::unique_ptr<FuzzMachine> replay_;
    uint64_t executed_ = 0;
    unsigned failures_ = 0;
};

TEST(InstructionFuzzer, AnyCodeAlikeInAllConfigurations) {
    if (!arguments.one_case.empty()) GTEST_SKIP();
    Comparison comparison;
    // Seeds that have found something, as long as the generator stays as it is.
    for (uint64_t seed : {269, 611, 2421, 3702, 9267, 62883, 379003228}) comparison.run(seed);
    uint64_t made = run_portions([&](uint64_t seed) { return comparison.run(seed); });
    std::printf("%lu random machines, %lu instructions\n", made, comparison.executed());
    EXPECT_GT(comparison.executed(), made);
}

TEST(InstructionFuzzer, OneCase) {
    if (arguments.one_case.empty()) GTEST_SKIP();
    constexpr std::string_view kMachine = "machine:";
    if (arguments.one_case.starts_with(kMachine)) {
        uint64_t seed = std::stoull(arguments.one_case.substr(kMachine.size()));
        std::fputs(describe(generate_fuzz_case(seed)).c_str(), stdout);
        Comparison().run(seed);
        return;
    }
    Result<Case> test_case = generate_named_case(arguments.one_case);
    ASSERT_TRUE(test_case.ok()) << test_case.error().message();
    std::fputs(describe(test_case.value()).c_str(), stdout);
    Differential differential(*oracle, {.wanted = is_fuzzed});
    differential.add(test_case.take(), "case");
    differential.flush();
}

bool parse(std::string_view argument) {
    auto take = [&](std::string_view name, std::string& out) {
        if (!argument.starts_with(name)) return false;
        out = argument.substr(name.size());
        return true;
    };
    std::string number;
    if (take("--case=", arguments.one_case)) return true;
    if (argument.starts_with("--seconds=")) arguments.most_cases = ~uint64_t{0};
    uint64_t* target = take("--seconds=", number) ? &arguments.seconds
                       : take("--seed=", number)  ? &arguments.seed
                                                  : nullptr;
    if (!target) return false;
    auto [end, failure] = std::from_chars(number.data(), number.data() + number.size(), *target);
    return failure == std::errc() && end == number.data() + number.size();
}

/// In a process of its own: a crash of the engine is to leave behind what it was at.
int run_in_child(int (*run)()) {
    void* page = mmap(nullptr, sizeof(CaseName), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(page != MAP_FAILED);
    running = new (page) CaseName{};
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) std::exit(run());
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child);
    if (WIFEXITED(status)) return WEXITSTATUS(status);
    std::fprintf(stderr, "ended by signal %d; repeat with: instruction_fuzzer --case=%s\n", WTERMSIG(status),
                 running->data());
    return 1;
}

int run_tests() { return run_tests_with(oracle, print_current_case); }

}  // namespace
}  // namespace lockstep::instructions

int main(int argc, char** argv) {
    using namespace lockstep::instructions;
    take_arguments(argc, argv, parse, "fuzz_test.cc");
    if (!arguments.seed) arguments.seed = std::random_device()() % 1'000'000'000;
    std::printf("seed %lu: repeat with --seed=%lu\n", arguments.seed, arguments.seed);
    std::fflush(stdout);
    return run_in_child(run_tests);
}
