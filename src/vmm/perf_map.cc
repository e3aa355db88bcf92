// SPDX-License-Identifier: Apache-2.0
#include "vmm/perf_map.h"

#include <unistd.h>

#include <memory>

#include "base/log.h"
#include "host/files.h"

namespace lockstep::vmm {

namespace {

using translate::CodeKind;
using translate::CodePiece;

/// Text that is gathered before it is written.
constexpr size_t kGathered = 64 << 10;

std::string name_of(const CodePiece& piece) {
    switch (piece.kind) {
        case CodeKind::kBlock:
            return fmt::format("guest_{}_{:x}{}", piece.user ? "user" : "kernel", piece.pc,
                               piece.cold ? "_cold" : "");
        case CodeKind::kJumpChecks:
            return "engine_jump_checks";
        case CodeKind::kTransient:
            return "engine_transient_block";
        case CodeKind::kTrampolines:
            return "engine_trampolines";
    }
    return "engine";
}

class PerfMap {
  public:
    PerfMap() : path_(perf_map_path()) { check(host::write_file_atomically(path_, {})); }
    ~PerfMap() { write(); }
    PerfMap(const PerfMap&) = delete;
    PerfMap& operator=(const PerfMap&) = delete;

    void add(const CodePiece& piece) {
        if (failed_) return;
        text_ += perf_map_line(piece);
        if (text_.size() >= kGathered) write();
    }

  private:
    void write() {
        if (!failed_)
            check(
                host::append_to_file(path_, {reinterpret_cast<const uint8_t*>(text_.data()), text_.size()}));
        text_.clear();
    }

    void check(const Result<void>& result) {
        if (result) return;
        failed_ = true;
        log_warning("{}; profiles won't name the guest's code", result.error().message());
    }

    std::string path_;
    std::string text_;
    bool failed_ = false;
};

}  // namespace

std::string perf_map_line(const CodePiece& piece) {
    return fmt::format("{:x} {:x} {}\n", reinterpret_cast<uintptr_t>(piece.code.data()), piece.code.size(),
                       name_of(piece));
}

std::string perf_map_path() { return fmt::format("/tmp/perf-{}.map", ::getpid()); }

void write_perf_map(machine::Machine& machine) {
    machine.set_code_visitor(
        [map = std::make_shared<PerfMap>()](const CodePiece& piece) { map->add(piece); });
}

}  // namespace lockstep::vmm
