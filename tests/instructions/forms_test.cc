// SPDX-License-Identifier: Apache-2.0
// The table of forms against Zydis: what is generated for a mnemonic must be that instruction.
#include "forms.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "assemble.h"
#include "compare.h"
#include "disassemble.h"
#include "generate.h"
#include "generate_parts.h"

namespace lockstep::instructions {
namespace {

/// Names of the table that Zydis spells otherwise, or that stand for several mnemonics.
const std::map<std::string, std::set<std::string>> kOtherNames = {
    {"cbw", {"cbw", "cwde", "cdqe"}},
    {"cwd", {"cwd", "cdq", "cqo"}},
    {"sal", {"shl"}},
    {"xchg", {"xchg", "nop"}},
    {"loope", {"loope"}},
    {"movlps", {"movlps", "movhlps"}},
    {"movhps", {"movhps", "movlhps"}},
    {"pextrd", {"pextrd", "pextrq"}},
    {"pinsrd", {"pinsrd", "pinsrq"}},
    {"movd", {"movd", "movq"}},
    {"jrcxz", {"jrcxz", "jecxz"}},
    {"pushfq", {"pushfq", "pushf"}},
    {"popfq", {"popfq", "popf"}},
    {"movs", {"movsb", "movsw", "movsd", "movsq"}},
    {"cmps", {"cmpsb", "cmpsw", "cmpsd", "cmpsq"}},
    {"stos", {"stosb", "stosw", "stosd", "stosq"}},
    {"lods", {"lodsb", "lodsw", "lodsd", "lodsq"}},
    {"scas", {"scasb", "scasw", "scasd", "scasq"}},
    {"ins", {"insb", "insw", "insd"}},
    {"outs", {"outsb", "outsw", "outsd"}},
    {"maskmov", {"maskmovq", "maskmovdqu"}},
    {"endbr64", {"endbr64"}},
};

bool expects(const std::string& name, const std::string& mnemonic) {
    auto other = kOtherNames.find(name);
    return other == kOtherNames.end() ? name == mnemonic : other->second.contains(mnemonic);
}

TEST(Forms, EachIsTheInstructionOfItsName) {
    Random random(1);
    for (const Form& form : forms()) {
        if (form.has(kTagFaults)) continue;
        std::string name = form.name.substr(0, form.name.find(' '));
        for (int i = 0; i < 40; ++i) {
            Choices choices;
            const Operand* rm = form.rm();
            choices.memory = rm && (rm->kind == 'M' || rm->kind == 'Y' || (rm->kind != 'R' && i % 2));
            if (form.has(kTagGather)) choices.shape.index = 1, choices.shape.vector_index = true;
            choices.shape.base = static_cast<int>(random.below(16));
            choices.shape.displacement_size = random.pick(std::array<unsigned, 3>{0, 1, 4});
            Encoded code = assemble(form, choices, random);
            std::optional<Disassembly> known = disassemble(code.bytes, kCode);
            if (!known && form.has(kTagGather)) continue;  // a register twice
            ASSERT_TRUE(known) << form.name;
            EXPECT_EQ(known->length, code.bytes.size()) << form.name << ": " << known->text;
            EXPECT_TRUE(expects(name, known->mnemonic)) << form.name << ": " << known->text;
        }
    }
}

TEST(Forms, ASeedGivesTheSameCaseAgain) {
    for (uint64_t seed = 0; seed < 50; ++seed) {
        EXPECT_EQ(describe(generate_form_case(seed, seed)), describe(generate_form_case(seed, seed)));
        EXPECT_EQ(describe(generate_sequence_case(seed)), describe(generate_sequence_case(seed)));
    }
}

TEST(Forms, ACaseIsFoundByItsName) {
    Case test_case = generate_form_case(3, 17);
    Result<Case> again = generate_named_case(test_case.name);
    ASSERT_TRUE(again.ok());
    EXPECT_EQ(describe(test_case), describe(again.value()));
    for (std::string_view name : {"", "form:1", "form:999999:1", "sequence:x", "other:1"})
        EXPECT_FALSE(generate_named_case(name).ok()) << name;
}

}  // namespace
}  // namespace lockstep::instructions
