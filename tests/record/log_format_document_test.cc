// SPDX-License-Identifier: Apache-2.0
// docs/log-format.md names every row of the tables that make the format.
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "record/entry.h"
#include "record/frame.h"
#include "record/identity.h"

namespace {

TEST(LogFormatDocument, HasEveryRowOfTheTables) {
    std::ifstream file(LOCKSTEP_SOURCE_FOLDER "/docs/log-format.md");
    std::stringstream content;
    content << file.rdbuf();
    const std::string text = content.str();
    ASSERT_FALSE(text.empty());
    auto expect = [&](const std::string& cell) {
        EXPECT_NE(text.find("| " + cell + " |"), std::string::npos)
            << "docs/log-format.md lacks a row: " << cell;
    };
#define LOCKSTEP_ENTRY(name, number, entry_class, what) expect(#number " | " + std::string(#name).substr(1));
    LOCKSTEP_LOG_ENTRIES(LOCKSTEP_ENTRY)
#define LOCKSTEP_FRAME(name, number, body_mib, what) expect(#number " | " + std::string(#name).substr(1));
    LOCKSTEP_FRAMES(LOCKSTEP_FRAME)
#define LOCKSTEP_HEADER_FIELD(type, name, what) expect("`" #name "`");
    LOCKSTEP_FRAME_HEADER(LOCKSTEP_HEADER_FIELD)
#define LOCKSTEP_CPU_FIELD(type, name, what) expect("`" #name "`");
    LOCKSTEP_CPU_FIELDS(LOCKSTEP_CPU_FIELD)
}

}  // namespace
