// SPDX-License-Identifier: Apache-2.0
// The page's files, as they are in src/api/page: the program carries them.
#pragma once

#include <span>
#include <string_view>

namespace lockstep::api {

struct PageFile {
    std::string_view path;  ///< as a browser asks for it
    std::string_view content_type;
    std::string_view content;
};
std::span<const PageFile> page_files();

}  // namespace lockstep::api
