// SPDX-License-Identifier: Apache-2.0
// A VM's configuration: any text gets settings or a sentence.
#include "control/config.h"

#include "target.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace lockstep;
    std::string_view text(reinterpret_cast<const char*>(data), size);
    Result<vmm::VmSettings> settings = control::parse_config(text, "fuzz.toml");
    CHECK(settings.ok() || !settings.error().message().empty(), "a refusal without a reason");
    return 0;
}
