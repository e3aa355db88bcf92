// SPDX-License-Identifier: Apache-2.0
// The build ID of an executable file, and files with another one.
#pragma once

#include <filesystem>
#include <fstream>
#include <iterator>
#include <span>
#include <string>

namespace lockstep::vmm {

inline std::string program_at(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator(file), {}};
}

/// The 20 bytes of a program's build ID; empty: it has none.
inline std::span<char> build_id_in(std::string& program) {
    // A note: the sizes of name and content, its type, its name (System V ABI, "Note Section").
    const std::string note("\x04\0\0\0\x14\0\0\0\x03\0\0\0GNU\0", 16);
    size_t at = program.find(note);
    if (at == std::string::npos) return {};
    return std::span(program).subspan(at + note.size(), 20);
}

/// Copies a program and changes its build ID: another build, which computes alike.
inline void copy_as_other_build(const std::string& from, const std::string& to) {
    std::string program = program_at(from);
    build_id_in(program).front() ^= 1;
    std::ofstream(to, std::ios::binary) << program;
    std::filesystem::permissions(to, std::filesystem::perms::owner_all);
}

}  // namespace lockstep::vmm
