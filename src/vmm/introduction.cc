// SPDX-License-Identifier: Apache-2.0
#include "vmm/introduction.h"

#include "base/foreign_text.h"
#include "vmm/greeting_codec.h"

namespace lockstep::vmm {

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
