// SPDX-License-Identifier: Apache-2.0
#include "machine/sections.h"

#include <algorithm>
#include <utility>

#include "base/foreign_text.h"

namespace lockstep::machine {

namespace {

Error missing(std::string_view name) {
    return error("the saved machine has no section '{}'; the configurations or the programs differ", name);
}

}  // namespace

void SectionWriter::section(std::string_view name, uint32_t version,
                            const std::function<void(ByteWriter&)>& save) {
    contents_.clear();
    ByteWriter contents(contents_);
    save(contents);
    out_.text(name);
    out_.varint(version);
    out_.blob(contents_);
}

Result<SectionReader> SectionReader::read(ByteReader& in) {
    SectionReader reader;
    for (;;) {
        Section section{.name = in.text(), .version = 0, .contents = {}};
        if (in.ok() && section.name.empty()) return reader;
        section.version = in.varint();
        section.contents = in.blob();
        if (!in.ok())
            return error("the saved machine is cut short after {} sections; save it again",
                         reader.left_.size());
        reader.left_.push_back(std::move(section));
    }
}

Result<void> SectionReader::expect(const std::vector<std::string_view>& names) const {
    for (const Section& section : left_)
        if (std::ranges::find(names, section.name) == names.end())
            return error(
                "the saved machine has a section '{}' that this one knows nothing of; the configurations or "
                "the "
                "programs differ",
                foreign_text(section.name));
    for (std::string_view name : names)
        if (std::ranges::find(left_, name, &Section::name) == left_.end()) return missing(name);
    if (left_.size() != names.size()) return error("the saved machine has a section twice; it is damaged");
    return {};
}

Result<void> SectionReader::section(std::string_view name, uint32_t version,
                                    const std::function<Result<void>(ByteReader&)>& load) {
    auto found = std::ranges::find(left_, name, &Section::name);
    if (found == left_.end()) return missing(name);
    if (found->version != version)
        return error("the saved machine's section '{}' has version {}, this program reads version {}", name,
                     found->version, version);
    ByteReader in(found->contents);
    TRY(load(in));
    if (!in.ok() || in.remaining()) return error("the saved machine's section '{}' is damaged", name);
    left_.erase(found);
    return {};
}

}  // namespace lockstep::machine
