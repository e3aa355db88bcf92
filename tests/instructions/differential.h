// SPDX-License-Identifier: Apache-2.0
// Cases run on the bare CPU and in engines of several configurations, and everything compared.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "compare.h"
#include "engine.h"
#include "oracle.h"

namespace lockstep::instructions {

/// What a Differential runs and shows.
struct DifferentialOptions {
    std::function<bool(const guests::EngineConfiguration&)> wanted;  ///< which configurations
    std::string skip{};                                   ///< names of cases, each with a comma behind
    std::function<void(const std::string& name)> note{};  ///< is told of each case before it runs
    uint64_t most_reports = 12;                           ///< failures printed
};

/// The engines, and how many failures each kind of case has had: a broken form shouldn't hide the others.
class Differential {
  public:
    Differential(Oracle& oracle, DifferentialOptions options);

    /// `kind`: what failures are counted by.
    void add(Case test_case, const std::string& kind);
    /// Runs what has been added.
    void flush();

    /// As many failures as are printed.
    bool silent() const { return reports_ >= options_.most_reports; }
    std::string summary() const;
    /// Cases that the bare CPU has judged.
    uint64_t judged() const { return judged_; }

  private:
    void check(const Case& test_case, const Outcome& expected, const std::string& kind);
    std::string compare_engines(const Engine& first, const Engine& engine) const;
    void report(const Case& test_case, const std::string& differences);

    Oracle& oracle_;
    DifferentialOptions options_;
    std::vector<std::unique_ptr<Engine>> engines_;
    std::vector<Case> cases_;
    std::vector<std::string> kinds_;
    std::map<std::string, unsigned> failures_;
    uint64_t reports_ = 0;
    uint64_t judged_ = 0;
    Image image_;
    Outcome first_actual_, actual_;
};

/// What the others don't show: the cases lie at one address, and "plain" has blocks of three instructions, ends
/// them at branches and interprets, too. Each engine takes 8 TiB of the host's address space, and eight of them
/// must do. "window" comes first and takes the addresses, so "window_pairs" finds them taken.
bool is_useful(const guests::EngineConfiguration& configuration);

/// Prints the case that is being run, for the message of a failed check.
void print_current_case();

}  // namespace lockstep::instructions
