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
#include <map>
#include <string>

#include "base/check.h"
#include "compare.h"
#include "engine.h"
#include "generate.h"
#include "oracle.h"
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

/// What is being run, for the message of a failed check.
const Case* current_case = nullptr;
const Engine* current_engine = nullptr;
void print_current_case() {
    if (!current_case) return;
    std::fprintf(stderr, "engine %s, %s", current_engine->configuration().name.data(),
                 describe(*current_case).c_str());
}

/// Cases of each form, and sequences, in a round.
constexpr uint64_t kCasesOfAForm = 20;
constexpr uint64_t kSequences = 10000;

/// The engines, and how many failures each kind of case has had: a broken form shouldn't hide the others.
class Differential {
  public:
    Differential() {
        for (const guests::EngineConfiguration& configuration : guests::kEngineConfigurations)
            if (arguments.engine.empty() ? is_useful(configuration) : arguments.engine == configuration.name)
                engines_.push_back(std::make_unique<Engine>(configuration));
    }

    /// `kind`: what failures are counted by.
    void add(Case test_case, const std::string& kind) {
        if (failures_[kind] >= 2 || arguments.skip.find(test_case.name + ",") != std::string::npos) return;
        kinds_.push_back(kind);
        cases_.push_back(std::move(test_case));
        if (cases_.size() == Oracle::kBatch) flush();
    }

    void flush() {
        if (cases_.empty()) return;
        Result<std::span<const Outcome>> expected = oracle->run(cases_);
        ASSERT_TRUE(expected.ok()) << expected.error().message();
        for (size_t i = 0; i < cases_.size(); ++i) check(cases_[i], expected.value()[i], kinds_[i]);
        cases_.clear();
        kinds_.clear();
    }

    bool silent() const { return reports_ >= arguments.reports; }
    std::string summary() const {
        std::string text;
        for (const auto& [kind, count] : failures_)
            if (count) text += fmt::format("  {}: {}\n", kind, count);
        return text;
    }

  private:
    /// What the others don't show: the cases lie at one address, and "plain" has blocks of three
    /// instructions, ends them at branches and interprets, too. Each engine takes 8 TiB of the host's address
    /// space, and eight of them must do. "window" comes first and takes the addresses, so "window_pairs"
    /// finds them taken.
    static bool is_useful(const guests::EngineConfiguration& configuration) {
        for (std::string_view name : {"no_copies", "no_jump_cache", "no_jump_index", "unchained",
                                      "interpreted_system", "basic_blocks"})
            if (configuration.name == name) return false;
        return true;
    }

    void check(const Case& test_case, const Outcome& expected, const std::string& kind) {
        if (expected.ending != Ending::kException) return;  // nothing to compare
        apply_patches(test_case, image_);
        std::optional<uint64_t> stop;
        if (test_case.count_instructions && expected.retired > 0)
            stop = 1 + std::hash<std::string>{}(test_case.name) % expected.retired;
        Engine* first = nullptr;
        for (auto& engine : engines_) {
            current_case = &test_case;
            current_engine = engine.get();
            Outcome& actual = first ? actual_ : first_actual_;
            engine->run(test_case, image_, actual, stop);
            std::string differences = compare(test_case, expected, actual);
            if (!first)
                first = engine.get();
            else
                differences += compare_engines(*first, *engine);
            if (differences.empty()) continue;
            ++failures_[kind];
            report(test_case, fmt::format("engine {}{}:\n{}", engine->configuration().name,
                                          stop ? fmt::format(", stopped after {}", *stop) : "", differences));
            return;
        }
    }

    /// What the bare CPU doesn't know, all engines must agree on: flags that are dead, and the state at a
    /// stop.
    std::string compare_engines(const Engine& first, const Engine& engine) const {
        std::string differences = compare_states(first_actual_.state, actual_.state);
        if (!differences.empty())
            differences = fmt::format("  between engines (CPU stands for {}):\n{}",
                                      first.configuration().name, differences);
        if (first.at_stop().has_value() != engine.at_stop().has_value())
            return differences + "  one engine stopped and another didn't\n";
        if (!first.at_stop()) return differences;
        std::string at_stop = compare_states(*first.at_stop(), *engine.at_stop());
        if (at_stop.empty()) return differences;
        return differences +
               fmt::format("  at the stop (CPU stands for {}):\n{}", first.configuration().name, at_stop);
    }

    void report(const Case& test_case, const std::string& differences) {
        if (reports_++ < arguments.reports) ADD_FAILURE() << describe(test_case) << differences;
    }

    std::vector<std::unique_ptr<Engine>> engines_;
    std::vector<Case> cases_;
    std::vector<std::string> kinds_;
    std::map<std::string, unsigned> failures_;
    uint64_t reports_ = 0;
    Image image_;
    Outcome first_actual_, actual_;
};

TEST(Instructions, KnownCasesAsOnTheBareCpu) {
    if (!arguments.one_case.empty() || !arguments.form.empty()) GTEST_SKIP();
    Differential differential;
    for (Case& test_case : generate_known_cases()) {
        std::string name = test_case.name;
        differential.add(std::move(test_case), name);
    }
    differential.flush();
    EXPECT_EQ(differential.summary(), "") << "failing cases";
}

TEST(Instructions, EachFormAsOnTheBareCpu) {
    if (!arguments.one_case.empty()) GTEST_SKIP();
    Differential differential;
    for (uint64_t i = 0; i < kCasesOfAForm * arguments.rounds; ++i)
        for (size_t form = 0; form < forms().size(); ++form)
            if (forms()[form].name.find(arguments.form) != std::string::npos)
                differential.add(generate_form_case(form, arguments.seed + i), forms()[form].name);
    differential.flush();
    EXPECT_EQ(differential.summary(), "") << "failing cases by form";
}

TEST(Instructions, SequencesAsOnTheBareCpu) {
    if (!arguments.one_case.empty() || !arguments.form.empty()) GTEST_SKIP();
    Differential differential;
    for (uint64_t i = 0; i < kSequences * arguments.rounds && !differential.silent(); ++i)
        differential.add(generate_sequence_case(arguments.seed + i), fmt::format("sequences {}", i / 8));
    differential.flush();
    EXPECT_EQ(differential.summary(), "") << "failing sequences";
}

// What the translator believes of flags, asked of the bare CPU: the same case runs with all arithmetic flags
// clear and with all set. A flag that the instruction certainly overwrites must come out equal, and if it
// reads none, nothing else may differ either.
TEST(Instructions, FlagsAreReadAndWrittenAsTheTranslatorBelieves) {
    if (!arguments.one_case.empty()) GTEST_SKIP();
    for (size_t form = 0; form < forms().size(); ++form) {
        if (forms()[form].has(kTagFaults) || forms()[form].has(kTagStepFlag)) continue;
        for (uint64_t seed = 0; seed < 20; ++seed) {
            Case clear = generate_form_case(form, seed, Neighbours::kNone), set = clear;
            clear.state.rflags &= ~cpu::kArithmeticFlags;
            set.state.rflags |= cpu::kArithmeticFlags;
            clear.count_instructions = set.count_instructions = false;
            translate::GuestInstruction instruction;
            if (!translate::decode(clear.patches.back().bytes, clear.state.rip, instruction)) continue;
            Case both[] = {clear, set};
            Result<std::span<const Outcome>> outcomes = oracle->run(both);
            ASSERT_TRUE(outcomes.ok());
            Outcome from_clear = outcomes.value()[0], from_set = outcomes.value()[1];
            if (from_clear.ending != Ending::kException) continue;
            if (from_clear.vector != cpu::kBp || instruction.flags_read == translate::kAllFlags) continue;
            uint64_t differing = from_clear.state.rflags ^ from_set.state.rflags;
            if (!instruction.flags_read) {
                from_set.state.rflags = from_clear.state.rflags;
                EXPECT_EQ(compare(clear, from_clear, from_set), "") << describe(clear);
            } else {
                continue;  // a flag that is read may show anywhere
            }
            uint8_t wrong =
                translate::pack_flags(static_cast<uint32_t>(differing)) & instruction.flags_written;
            EXPECT_EQ(wrong, 0) << "not overwritten by " << describe(clear);
        }
    }
}

TEST(Instructions, OneCase) {
    if (arguments.one_case.empty()) GTEST_SKIP();
    Result<Case> test_case = generate_named_case(arguments.one_case);
    ASSERT_TRUE(test_case.ok()) << test_case.error().message();
    std::fputs(describe(test_case.value()).c_str(), stdout);
    Differential differential;
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
    testing::InitGoogleTest(&argc, argv);
    for (int i = 1; i < argc; ++i) {
        if (parse(argv[i])) continue;
        std::fprintf(stderr, "unknown argument %s; see the head of instructions_test.cc\n", argv[i]);
        return 2;
    }
    lockstep::set_dump_hook(print_current_case);
    auto made = Oracle::create();
    if (!made.ok()) {
        std::fprintf(stderr, "%s\n", made.error().message().c_str());
        return 1;
    }
    std::unique_ptr<Oracle> owner = made.take();
    oracle = owner.get();
    return RUN_ALL_TESTS();
}
