// SPDX-License-Identifier: Apache-2.0
// The map for profilers: its lines, and its file.
#include "vmm/perf_map.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "host/files.h"
#include "toy_machine.h"

namespace lockstep::vmm {
namespace {

using translate::CodeKind;
using translate::CodePiece;

std::span<const uint8_t> code_at(uintptr_t start, size_t size) {
    return {reinterpret_cast<const uint8_t*>(start), size};
}

/// A machine that only keeps the visitor.
class ShownMachine : public testing::ToyMachine {
  public:
    explicit ShownMachine(bus::OutputSink& sink) : ToyMachine({}, 1, sink) {}
    void set_code_visitor(translate::CodeVisitor visitor) override { show = std::move(visitor); }
    translate::CodeVisitor show;
};

struct NoOutput : bus::OutputSink {
    void output(bus::Output /*output*/) override {}
};

TEST(PerfMap, ALineIsStartSizeAndNameInHexadecimal) {
    CodePiece piece{
        .kind = CodeKind::kBlock, .user = true, .pc = 0x7f1234567abc, .code = code_at(0xa0b0, 0x1c)};
    EXPECT_EQ(perf_map_line(piece), "a0b0 1c guest_user_7f1234567abc\n");
    piece.cold = true;
    EXPECT_EQ(perf_map_line(piece), "a0b0 1c guest_user_7f1234567abc_cold\n");
    piece = {.kind = CodeKind::kBlock, .pc = 0xffffffff81000340, .code = code_at(0x10, 0x100)};
    EXPECT_EQ(perf_map_line(piece), "10 100 guest_kernel_ffffffff81000340\n");
}

TEST(PerfMap, TheEnginesOwnCodeHasNames) {
    CodePiece piece{.kind = CodeKind::kTrampolines, .code = code_at(0x1000, 0x20)};
    EXPECT_EQ(perf_map_line(piece), "1000 20 engine_trampolines\n");
    piece.kind = CodeKind::kTransient;
    EXPECT_EQ(perf_map_line(piece), "1000 20 engine_transient_block\n");
    piece.kind = CodeKind::kJumpChecks;
    EXPECT_EQ(perf_map_line(piece), "1000 20 engine_jump_checks\n");
}

TEST(PerfMap, TheFileHoldsAllThatWasShownAndNothingOfAnEarlierProcess) {
    const std::string kEarlier = "1 1 earlier\n";
    ASSERT_TRUE(host::write_file_atomically(
        perf_map_path(), {reinterpret_cast<const uint8_t*>(kEarlier.data()), kEarlier.size()}));
    constexpr uint64_t kPieces = 5000;  // more than is gathered before the first write
    std::string expected;
    {
        NoOutput sink;
        ShownMachine machine(sink);
        write_perf_map(machine);
        for (uint64_t i = 0; i < kPieces; ++i) {
            CodePiece piece{.kind = CodeKind::kBlock, .pc = i, .code = code_at(0x1000 + i * 16, 16)};
            machine.show(piece);
            expected += perf_map_line(piece);
        }
    }
    Result<std::string> text = host::read_text(perf_map_path());
    ::unlink(perf_map_path().c_str());
    ASSERT_TRUE(text.ok());
    EXPECT_EQ(text.value(), expected);
}

}  // namespace
}  // namespace lockstep::vmm
