// SPDX-License-Identifier: Apache-2.0
// The rules that the shape of the tree must keep, as functions over the text of one file:
//
//   layers     a room includes and links only the rooms that it knows, which are below it
//   the wall   nothing below host/ observes the host: banned headers and calls, each with what to use instead
//   length     a file has at most kMostLines lines; the few that are longer are listed, and may only shrink
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace lockstep::layering {

/// A room, and the rooms that it knows: what its files may include, and what its CMake line links.
struct Room {
    std::string_view name;
    std::string_view knows;  ///< names with a blank between; each stands above in the table
};

/// From the ground up. A replica sees a VM through its own small interface (replica/hooks.h, action.h): vmm/ joins it to
/// machines for real, sim/ in simulation, which has a clock, channel and storage of its own.
inline constexpr Room kRooms[] = {
    {"base", ""},
    {"x86", ""},
    {"memory", "base"},
    {"record", "base x86"},
    {"cpu", "base x86 memory"},
    {"translate", "base x86 memory cpu"},
    {"bus", "base record"},
    {"devices", "base memory record bus"},
    {"machine", "base x86 memory record cpu translate bus devices"},
    {"drive", "base record bus machine"},
    {"disk", "base"},
    {"replica", "base record"},
    {"pair", "base record bus replica"},
    {"host", "base x86 record disk"},
    {"vmm", "base x86 memory record translate bus machine drive replica pair host"},
    {"debug", "base record cpu machine drive host vmm"},
    {"sim", "base record bus disk replica pair"},
    {"control", "base replica pair host vmm"},
    {"api", "base host vmm control"},
    {"keeper", "base host vmm control"},
};

/// Rooms that must not observe the host: all below it, and the simulation, which runs from a seed alone.
bool is_deterministic_room(std::string_view room);

inline constexpr size_t kMostLines = 600;

/// A file that is longer than kMostLines, and how long. The number may only shrink; add no file.
struct LongFile {
    std::string_view path;
    size_t lines;
};
std::vector<LongFile> long_files();

/// A file of the tree; `path` counts from the root: "src/cpu/mmu.cc".
struct SourceFile {
    std::string path;
    std::string text;
};

/// The room of a path; empty outside src/.
std::string room_of(std::string_view path);
/// The text with comments, and the insides of strings and characters, as spaces; lines stay lines.
std::string without_comments_and_strings(std::string_view text);

/// One sentence for each breach: "src/cpu/mmu.cc:12: ...".
std::vector<std::string> layer_breaches(const SourceFile& file);
/// The same of src/ROOM/CMakeLists.txt, whose line links exactly the rooms that the table says.
std::vector<std::string> link_breaches(const SourceFile& file);
std::vector<std::string> wall_breaches(const SourceFile& file);
std::vector<std::string> length_breaches(const SourceFile& file, const std::vector<LongFile>& allowances);

}  // namespace lockstep::layering
