// SPDX-License-Identifier: Apache-2.0
// The engine against the bare CPU, in every engine configuration.
//
//     instructions_test                     the quick run
//     instructions_test --rounds=100        a hundred times as many cases, other ones
//     instructions_test --seed=5000         begin with another seed
//     instructions_test --engine=single     in one configuration only
//     instructions_test --form=shl          forms whose name holds the text
//     instructions_test --skip=form:12:345,sequence:6   all but some
//     instructions_test --reports=100       print so many failures (12)
//     instructions_test --case=form:12:345  one case, as a failure prints it
#include <gtest/gtest.h>

#include <charconv>
#include <cstdlib>
#include <string>

#include "base/check.h"
#include "compare.h"
#include "differential.h"
#include "generate.h"
#include "oracle.h"
#include "run_tests.h"
#include "translate/guest_instruction.h"

namespace lockstep::instructions {
namespace {

struct Arguments {
    uint64_t rounds = 1;
    uint64_t seed = 1;
    std::string engine;
    std::string form;
    std::string one_case;
    std::string skip;
    uint64_t reports = 12;
};
Arguments arguments;
Oracle* oracle = nullptr;  // started by main(), before the engines reserve address space

/// Cases of each form, and sequences, in a round.
constexpr uint64_t kCasesOfAForm = 20;
constexpr uint64_t kSequences = 10000;

/// Engines by the arguments.
Differential make_differential() {
    auto wanted = [](const guests::EngineConfiguration& configuration) {
        return arguments.engine.empty() ? is_useful(configuration) : arguments.engine == configuration.name;
    };
    return Differential(*oracle,
                        {.wanted = wanted, .skip = arguments.skip, .most_reports = arguments.reports});
}

TEST(Instructions, KnownCasesAsOnTheBareCpu) {
    if (!arguments.one_case.empty() || !arguments.form.empty()) GTEST_SKIP();
    Differential differential = make_differential();
    for (Case& test_case : generate_known_cases()) {
        std::string name = test_case.name;
        differential.add(std::move(test_case), name);
    }
    differential.flush();
    EXPECT_EQ(differential.summary(), "") << "failing cases";
}

TEST(Instructions, EachFormAsOnTheBareCpu) {
    if (!arguments.one_case.empty()) GTEST_SKIP();
    Differential differential = make_differential();
    for (uint64_t i = 0; i < kCasesOfAForm * arguments.rounds; ++i)
        for (size_t form = 0; form < forms().size(); ++form)
            if (forms()[form].name.find(arguments.form) != std::string::npos)
                differential.add(generate_form_case(form, arguments.seed + i), forms()[form].name);
    differential.flush();
    EXPECT_EQ(differential.summary(), "") << "failing cases by form";
}

TEST(Instructions, SequencesAsOnTheBareCpu) {
    if (!arguments.one_case.empty() || !arguments.form.empty()) GTEST_SKIP();
    Differential differential = make_differential();
    for (uint64_t i = 0; i < kSequences * arguments.rounds && !differential.silent(); ++i)
        differential.add(generate_sequence_case(arguments.seed + i), fmt::format("sequences {}", i / 8));
    differential.flush();
    EXPECT_EQ(differential.summary(), "") << "failing sequences";
}

TEST(Instructions, NarrowCodeAsOnTheBareCpu) {
    if (!arguments.one_case.empty() || !arguments.form.empty()) GTEST_SKIP();
    Differential differential = make_differential();
    for (uint64_t i = 0; i < kSequences * arguments.rounds && !differential.silent(); ++i)
        differential.add(generate_narrow_case(arguments.seed + i), fmt::format("narrow {}", i / 8));
    differential.flush();
    EXPECT_EQ(differential.summary(), "") << "failing cases of 32-bit code";
}

/// Runs a case with the flags that its instruction doesn't read clear, then set; `read` are the others' values.
void expect_flags_as_believed(Case clear, const translate::GuestInstruction& instruction, uint64_t read) {
    uint64_t unread = cpu::kArithmeticFlags & ~translate::unpack_flags(instruction.flags_read);
    clear.state.rflags = (clear.state.rflags & ~cpu::kArithmeticFlags) | read;
    Case both[] = {clear, clear};
    both[1].state.rflags |= unread;
    Result<std::span<const Outcome>> outcomes = oracle->run(both);
    ASSERT_TRUE(outcomes.ok());
    Outcome from_clear = outcomes.value()[0], from_set = outcomes.value()[1];
    if (from_clear.ending != Ending::kException || from_clear.vector != cpu::kBp) return;
    uint64_t differing = from_clear.state.rflags ^ from_set.state.rflags;
    uint64_t kept = unread & ~translate::unpack_flags(instruction.flags_written);
    EXPECT_EQ(differing & ~kept, 0u) << "not overwritten, or read, by " << describe(both[1]);
    from_set.state.rflags = from_clear.state.rflags;
    EXPECT_EQ(compare(clear, from_clear, from_set), "") << "an unread flag shows: " << describe(both[1]);
}

// What the translator believes of flags, asked of the bare CPU: the same case runs with the arithmetic flags that
// the instruction doesn't read clear, and set. Those that it certainly overwrites must come out equal, and
// nothing else may differ but unread flags that it leaves alone. So for each value of those that it reads.
TEST(Instructions, FlagsAreReadAndWrittenAsTheTranslatorBelieves) {
    if (!arguments.one_case.empty()) GTEST_SKIP();
    unsigned readers = 0;
    for (size_t form = 0; form < forms().size(); ++form) {
        if (forms()[form].has(kTagFaults) || forms()[form].has(kTagStepFlag)) continue;
        for (uint64_t seed = 0; seed < 20; ++seed) {
            Case test_case = generate_form_case(form, seed, Neighbours::kNone);
            test_case.count_instructions = false;
            translate::GuestInstruction instruction;
            if (!translate::decode(test_case.patches.back().bytes, test_case.state.rip, instruction))
                continue;
            if (instruction.flags_read == translate::kAllFlags) continue;  // nothing is believed
            uint64_t read = translate::unpack_flags(instruction.flags_read);
            expect_flags_as_believed(test_case, instruction, 0);
            for (uint64_t flag = 1; flag <= read; flag <<= 1)
                if (read & flag) expect_flags_as_believed(test_case, instruction, flag);
            if (read) expect_flags_as_believed(test_case, instruction, read), ++readers;
        }
    }
    EXPECT_GT(readers, 500u) << "instructions that read flags are judged, too";
}

TEST(Instructions, OneCase) {
    if (arguments.one_case.empty()) GTEST_SKIP();
    Result<Case> test_case = generate_named_case(arguments.one_case);
    ASSERT_TRUE(test_case.ok()) << test_case.error().message();
    std::fputs(describe(test_case.value()).c_str(), stdout);
    Differential differential = make_differential();
    differential.add(test_case.take(), "case");
    differential.flush();
}

bool take(std::string_view argument, std::string_view name, std::string& out) {
    if (!argument.starts_with(name)) return false;
    out = argument.substr(name.size());
    return true;
}

bool parse(std::string_view argument) {
    std::string number;
    if (take(argument, "--engine=", arguments.engine) || take(argument, "--form=", arguments.form) ||
        take(argument, "--case=", arguments.one_case))
        return true;
    if (take(argument, "--skip=", arguments.skip)) {
        arguments.skip += ",";
        return true;
    }
    if (take(argument, "--rounds=", number)) {
        arguments.rounds = std::strtoull(number.c_str(), nullptr, 0);
        return arguments.rounds > 0;
    }
    if (take(argument, "--reports=", number)) {
        arguments.reports = std::strtoull(number.c_str(), nullptr, 0);
        return true;
    }
    if (!take(argument, "--seed=", number)) return false;
    arguments.seed = std::strtoull(number.c_str(), nullptr, 0);
    return true;
}

}  // namespace
}  // namespace lockstep::instructions

int main(int argc, char** argv) {
    using namespace lockstep::instructions;
    take_arguments(argc, argv, parse, "instructions_test.cc");
    return run_tests_with(oracle, print_current_case);
}
