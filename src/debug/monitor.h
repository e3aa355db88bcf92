// SPDX-License-Identifier: Apache-2.0
// What gdb has no commands for: `monitor COMMAND` in gdb.
#pragma once

#include <string>

#include "base/result.h"
#include "debug/timeline.h"

namespace lockstep::debug {

class Monitor {
  public:
    Monitor(Timeline& timeline, std::string path) : timeline_(timeline), path_(std::move(path)) {}

    /// The answer, in lines; a sentence where the command makes no sense. Fails where the machine's process has died.
    Result<std::string> carry_out(const std::string& line);

  private:
    struct Command;
    static const std::vector<Command>& commands();
    Result<std::string> help(const std::vector<std::string>& words);
    Result<std::string> icount(const std::vector<std::string>& words);
    Result<std::string> go(const std::vector<std::string>& words);
    Result<std::string> log(const std::vector<std::string>& words);
    Result<std::string> devices(const std::vector<std::string>& words);
    Result<std::string> search(const std::vector<std::string>& words);
    std::string moved(const Arrival& arrival) const;

    Timeline& timeline_;
    std::string path_;
};

}  // namespace lockstep::debug
