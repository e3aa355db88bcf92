// SPDX-License-Identifier: Apache-2.0
#include "vmm/introduction.h"

#include "base/foreign_text.h"
#include "record/fields.h"

namespace lockstep::vmm {

namespace {

constexpr uint32_t kMagic = 0x4c535450;  // "PTSL"
constexpr uint16_t kIntroductionVersion = 4;

template <typename T>
Bytes encode_greeting(const T& content) {
    Bytes bytes;
    ByteWriter out(bytes);
    out.fixed(kMagic);
    out.fixed(kIntroductionVersion);
    record::write_fields(out, content);
    return bytes;
}

template <typename T>
Result<T> decode_greeting(ByteSpan frame, const char* what) {
    ByteReader in(frame);
    if (in.fixed<uint32_t>() != kMagic)
        return error("what connected is no Lockstep host; check the addresses in protection.hosts");
    if (uint16_t version = in.fixed<uint16_t>(); version != kIntroductionVersion)
        return error(
            "the other host speaks version {} of the protocol, this one version {}; install the same build "
            "on both",
            version, kIntroductionVersion);
    T content;
    TRY(record::read_fields(in, content, what));
    return content;
}

}  // namespace

Bytes encode_introduction(const Introduction& introduction) { return encode_greeting(introduction); }
Result<Introduction> decode_introduction(ByteSpan frame) {
    return decode_greeting<Introduction>(frame, "an introduction");
}
Bytes encode_answer(const Answer& answer) { return encode_greeting(answer); }
Result<Answer> decode_answer(ByteSpan frame) {
    Answer answer = TRY(decode_greeting<Answer>(frame, "an answer"));
    answer.sentence = foreign_text(answer.sentence);
    return answer;
}

}  // namespace lockstep::vmm
