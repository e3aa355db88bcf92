// SPDX-License-Identifier: Apache-2.0
#include "api/page_files.h"

#include <vector>

extern "C" {
#define X(symbol, file, path, content_type) \
    extern const char lockstep_page_##symbol[], lockstep_page_##symbol##_end[];
#include "api/page_files.inc"
#undef X
}

namespace lockstep::api {

std::span<const PageFile> page_files() {
    static const std::vector<PageFile> kFiles = {
#define X(symbol, file, path, content_type) \
    {path,                                  \
     content_type,                          \
     {lockstep_page_##symbol, static_cast<size_t>(lockstep_page_##symbol##_end - lockstep_page_##symbol)}},
#include "api/page_files.inc"
#undef X
    };
    return kFiles;
}

}  // namespace lockstep::api
