// SPDX-License-Identifier: Apache-2.0
// A saved state in parts that have names and versions, so that a reader can say which of them it doesn't
// understand:
//
//     sections = (name, version, contents as a blob)*, an empty name
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace lockstep::machine {

class SectionWriter {
  public:
    explicit SectionWriter(ByteWriter& out) : out_(out) {}
    /// `name`: one that no other section has. `save` writes the contents.
    void section(std::string_view name, uint32_t version, const std::function<void(ByteWriter&)>& save);
    void end() { out_.text(""); }

  private:
    ByteWriter& out_;
    Bytes contents_;
};

class SectionReader {
  public:
    /// Reads all sections up to their end; their contents stay where `in` has them.
    static Result<SectionReader> read(ByteReader& in);

    /// Before they are loaded: these must be all that are left, in whatever order.
    Result<void> expect(const std::vector<std::string_view>& names) const;
    /// Calls `load` with the contents of a section, which must take them all.
    Result<void> section(std::string_view name, uint32_t version,
                         const std::function<Result<void>(ByteReader&)>& load);

  private:
    struct Section {
        std::string name;
        uint64_t version;
        ByteSpan contents;
    };
    std::vector<Section> left_;
};

}  // namespace lockstep::machine
