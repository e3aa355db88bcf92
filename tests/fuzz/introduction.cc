// SPDX-License-Identifier: Apache-2.0
// The first words on a connection, which anybody who reaches a daemon's port can say, and the answer to them.
#include "vmm/introduction.h"

#include "record/fields.h"
#include "target.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace lockstep;
    ByteSpan input(data, size);
    if (Result<vmm::Introduction> read = vmm::decode_introduction(input); read.ok()) {
        Bytes again = vmm::encode_introduction(read.value());
        CHECK(vmm::decode_introduction(again).ok(), "an introduction is refused once it is encoded again");
        (void)record::decode_fields<vmm::VmSettings>(read.value().settings, "the settings of the VM");
    }
    if (Result<vmm::Answer> read = vmm::decode_answer(input); read.ok())
        CHECK(vmm::decode_answer(vmm::encode_answer(read.value())).ok(),
              "an answer is refused once it is encoded again");
    return 0;
}
