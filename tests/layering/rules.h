// The rules that the shape of the tree must keep, as functions over the text of one file:
//
//   layers     a room includes only itself and rooms below it; some pairs of rooms don't know each other at all
//   the wall   nothing below host/ observes the host: banned headers and calls, each with what to use instead
//   length     a file has at most kMostLines lines; the few that are longer are listed, and may only shrink
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace lockstep::layering {

/// From the ground up.
inline constexpr std::string_view kRooms[] = {"base",      "x86", "memory",  "record",  "cpu",
                                              "translate", "bus", "devices", "machine", "disk", "replica",
                                              "host",      "vmm", "sim",     "control"};

/// A room that must not include another, though that one is below it.
struct Stranger {
    std::string_view room;
    std::string_view other;
    std::string_view why;
};
inline constexpr Stranger kStrangers[] = {
    {"replica", "machine", "vmm/ joins them for real and sim/ in simulation"},
    {"replica", "devices", "a replica sees a VM through its own small interface"},
    {"replica", "bus", "a replica sees a VM through its own small interface"},
    {"replica", "translate", "a replica sees a VM through its own small interface"},
    {"replica", "cpu", "a replica sees a VM through its own small interface"},
    {"sim", "host", "a simulation has a clock, channel and storage of its own"},
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
std::vector<std::string> wall_breaches(const SourceFile& file);
std::vector<std::string> length_breaches(const SourceFile& file, const std::vector<LongFile>& allowances);

}  // namespace lockstep::layering
