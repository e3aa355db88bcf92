// SPDX-License-Identifier: Apache-2.0
#include "differential.h"

namespace lockstep::instructions {

namespace {

const Case* current_case = nullptr;
const Engine* current_engine = nullptr;

}  // namespace

bool is_useful(const guests::EngineConfiguration& configuration) {
    for (std::string_view name :
         {"no_copies", "no_jump_cache", "no_jump_index", "unchained", "interpreted_system", "basic_blocks"})
        if (configuration.name == name) return false;
    return true;
}

void print_current_case() {
    if (!current_case) return;
    std::fprintf(stderr, "engine %s, %s", current_engine->configuration().name.data(),
                 describe(*current_case).c_str());
}

Differential::Differential(Oracle& oracle, DifferentialOptions options)
    : oracle_(oracle), options_(std::move(options)) {
    for (const guests::EngineConfiguration& configuration : guests::kEngineConfigurations)
        if (options_.wanted(configuration)) engines_.push_back(std::make_unique<Engine>(configuration));
}

void Differential::add(Case test_case, const std::string& kind) {
    if (failures_[kind] >= 2 || options_.skip.find(test_case.name + ",") != std::string::npos) return;
    kinds_.push_back(kind);
    cases_.push_back(std::move(test_case));
    if (cases_.size() == Oracle::kBatch) flush();
}

void Differential::flush() {
    if (cases_.empty()) return;
    Result<std::span<const Outcome>> expected = oracle_.run(cases_);
    ASSERT_TRUE(expected.ok()) << expected.error().message();
    for (size_t i = 0; i < cases_.size(); ++i) check(cases_[i], expected.value()[i], kinds_[i]);
    cases_.clear();
    kinds_.clear();
}

std::string Differential::summary() const {
    std::string text;
    for (const auto& [kind, count] : failures_)
        if (count) text += fmt::format("  {}: {}\n", kind, count);
    return text;
}

void Differential::check(const Case& test_case, const Outcome& expected, const std::string& kind) {
    if (expected.ending != Ending::kException) return;  // nothing to compare
    ++judged_;
    if (options_.note) options_.note(test_case.name);
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
std::string Differential::compare_engines(const Engine& first, const Engine& engine) const {
    std::string differences = compare_states(first_actual_.state, actual_.state);
    if (!differences.empty())
        differences = fmt::format("  between engines (CPU stands for {}):\n{}", first.configuration().name,
                                  differences);
    if (first.at_stop().has_value() != engine.at_stop().has_value())
        return differences + "  one engine stopped and another didn't\n";
    if (!first.at_stop()) return differences;
    std::string at_stop = compare_states(*first.at_stop(), *engine.at_stop());
    if (at_stop.empty()) return differences;
    return differences +
           fmt::format("  at the stop (CPU stands for {}):\n{}", first.configuration().name, at_stop);
}

void Differential::report(const Case& test_case, const std::string& differences) {
    if (reports_++ < options_.most_reports) ADD_FAILURE() << describe(test_case) << differences;
}

}  // namespace lockstep::instructions
