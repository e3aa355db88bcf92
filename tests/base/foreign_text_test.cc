// SPDX-License-Identifier: Apache-2.0
#include "base/foreign_text.h"

#include <gtest/gtest.h>

namespace lockstep {
namespace {

TEST(ForeignText, PlainTextIsLeftAsItIs) {
    for (const char* plain : {"", "the host can't take it: no room", "Größe 5 µs – 10 €", "\U0001F600"})
        EXPECT_EQ(foreign_text(plain), plain);
}

TEST(ForeignText, ItIsOneLineAndLeavesTheTerminalAlone) {
    EXPECT_EQ(foreign_text("gone\nlockstep: info: VM web is well"), "gone lockstep: info: VM web is well");
    EXPECT_EQ(foreign_text("\x1b]0;title\x07\x1b[2Jtext\x7f\r\t."), "]0;title[2Jtext  .");
    EXPECT_EQ(foreign_text(std::string_view("a\0b", 3)), "ab");
    EXPECT_EQ(foreign_text("a\u009b2Jb\u0085c"), "a2Jb c") << "control characters of the second half";
    EXPECT_EQ(foreign_text("a\u202eb\u2028c\u2066d\ufeff"), "abcd") << "order of letters, lines";
}

TEST(ForeignText, WhatIsNoUtf8CannotStay) {
    EXPECT_EQ(foreign_text("a\xff\xfe z"), "a?? z");
    EXPECT_EQ(foreign_text("\xc0\xaf"), "??") << "a slash in more bytes than it needs";
    EXPECT_EQ(foreign_text("\xe2\x82"), "??") << "cut in the middle";
    EXPECT_EQ(foreign_text("\xed\xa0\x80"), "???") << "half of a pair of UTF-16";
    EXPECT_EQ(foreign_text("\xf4\x90\x80\x80"), "????") << "beyond Unicode";
}

TEST(ForeignText, ItIsCutToALength) {
    EXPECT_EQ(foreign_text(std::string(200, 'x')), std::string(200, 'x'));
    EXPECT_EQ(foreign_text(std::string(201, 'x')), std::string(197, 'x') + "...");
    EXPECT_EQ(foreign_text(std::string(1 << 20, 'x')).size(), 200u);
    std::string wide;
    for (int i = 0; i < 300; ++i) wide += "€";
    EXPECT_EQ(foreign_text(wide).size(), 197 * std::string("€").size() + 3) << "between characters";
}

}  // namespace
}  // namespace lockstep
