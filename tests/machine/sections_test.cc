// SPDX-License-Identifier: Apache-2.0
#include "machine/sections.h"

#include <gtest/gtest.h>

namespace lockstep::machine {
namespace {

Bytes two_sections() {
    Bytes bytes;
    ByteWriter out(bytes);
    SectionWriter writer(out);
    writer.section("one", 1, [](ByteWriter& to) { to.varint(7); });
    writer.section("two", 2, [](ByteWriter& to) { to.text("hello"); });
    writer.end();
    return bytes;
}

Result<void> nothing(ByteReader&) { return {}; }

TEST(Sections, AreReadInAnyOrder) {
    Bytes bytes = two_sections();
    ByteReader in(bytes);
    SectionReader reader = SectionReader::read(in).take();
    EXPECT_EQ(in.remaining(), 0u);
    std::string text;
    ASSERT_TRUE(reader
                    .section("two", 2,
                             [&](ByteReader& from) -> Result<void> {
                                 text = from.text();
                                 return {};
                             })
                    .ok());
    EXPECT_EQ(text, "hello");
    EXPECT_TRUE(reader.expect({"one"}).ok());
    uint64_t number = 0;
    ASSERT_TRUE(reader
                    .section("one", 1,
                             [&](ByteReader& from) -> Result<void> {
                                 number = from.varint();
                                 return {};
                             })
                    .ok());
    EXPECT_EQ(number, 7u);
    EXPECT_TRUE(reader.expect({}).ok());
}

TEST(Sections, WhatIsNotUnderstoodIsNamed) {
    Bytes bytes = two_sections();
    ByteReader in(bytes);
    SectionReader reader = SectionReader::read(in).take();
    EXPECT_EQ(reader.section("three", 1, nothing).error().message(),
              "the saved machine has no section 'three'; the configurations or the programs differ");
    EXPECT_EQ(reader.section("two", 1, nothing).error().message(),
              "the saved machine's section 'two' has version 2, this program reads version 1");
    EXPECT_EQ(reader.section("one", 1, nothing).error().message(),
              "the saved machine's section 'one' is damaged")
        << "contents that nobody takes";
    EXPECT_TRUE(reader.expect({"two", "one"}).ok());
    EXPECT_EQ(
        reader.expect({"two"}).error().message(),
        "the saved machine has a section 'one' that this one knows nothing of; the configurations or the "
        "programs differ");
    EXPECT_EQ(reader.expect({"one", "two", "three"}).error().message(),
              "the saved machine has no section 'three'; the configurations or the programs differ");
}

TEST(Sections, CutOnesAreRefused) {
    Bytes bytes = two_sections();
    for (size_t size = 0; size < bytes.size(); ++size) {
        ByteReader in(ByteSpan(bytes).first(size));
        EXPECT_FALSE(SectionReader::read(in).ok()) << size;
    }
}

}  // namespace
}  // namespace lockstep::machine
