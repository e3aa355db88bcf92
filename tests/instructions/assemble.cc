// SPDX-License-Identifier: Apache-2.0
#include "assemble.h"

#include <array>

#include "base/check.h"

namespace lockstep::instructions {

uint64_t interesting_number(Random& random, unsigned bytes) {
    constexpr std::array<uint64_t, 20> kEdges = {0,
                                                 1,
                                                 2,
                                                 3,
                                                 7,
                                                 8,
                                                 0x7f,
                                                 0x80,
                                                 0xff,
                                                 0x100,
                                                 0x7fff,
                                                 0x8000,
                                                 0xffff,
                                                 0x7fffffff,
                                                 0x80000000,
                                                 0xffffffff,
                                                 0x100000000,
                                                 0x7fffffffffffffff,
                                                 0x8000000000000000,
                                                 0xaaaaaaaaaaaaaaaa};
    uint64_t value;
    switch (random.below(6)) {
        case 0:
            value = random.pick(kEdges);
            break;
        case 1:
            value = ~random.pick(kEdges) + random.below(2);
            break;
        case 2:
            value = random.next() >> random.below(64);
            break;
        case 3:
            value = ~(random.next() >> random.below(64));
            break;
        default:
            value = random.next();
            break;
    }
    return bytes >= 8 ? value : value & ((uint64_t{1} << 8 * bytes) - 1);
}

namespace {

constexpr unsigned kNoNumber = 16;

/// Fills in one instruction, field by field.
class Assembler {
  public:
    Assembler(const Form& form, const Choices& choices, Random& random)
        : form_(form), choices_(choices), random_(random) {}

    Encoded assemble() {
        choose_operand_size();
        choose_length();
        choose_registers();
        legacy_prefixes();
        form_.vex ? vex_prefix() : rex_and_map();
        out_.bytes.push_back(static_cast<uint8_t>(form_.opcode | (in_opcode_ & 7)));
        if (has_modrm()) modrm();
        for (const Operand& operand : form_.operands) immediate(operand);
        return std::move(out_);
    }

  private:
    bool has_modrm() const { return form_.digit >= 0 || form_.fixed_modrm >= 0 || form_.rm(); }

    void choose_operand_size() {
        bool variable = false, no_word = false, stack = form_.has(kTagStack);
        for (const Operand& operand : form_.operands) {
            variable |=
                operand.size == 'v' || operand.size == 's' || operand.size == 'y' || operand.size == 'z';
            no_word |= operand.size == 'y';
        }
        for (const Operand& operand : form_.operands) no_word &= operand.size != 'v';
        if (form_.has(kTagStack) && !form_.has(kTagBranch) && !form_.has(kTagFrame)) variable = true;
        if (form_.has(kTagBranch)) variable = false;
        if (!variable) {
            wide_ = form_.wide;
            out_.operand_size = form_.wide ? 8 : 4;
            return;
        }
        if (stack) {
            word_ = random_.chance(15);
            out_.operand_size = word_ ? 2 : 8;
            return;
        }
        word_ = !no_word && random_.chance(25);
        wide_ = !word_ && random_.chance(50);
        out_.operand_size = word_ ? 2 : wide_ ? 8 : 4;
    }

    void choose_length() {
        switch (form_.length) {
            case VectorLength::kNone:
            case VectorLength::k128:
                break;
            case VectorLength::k256:
                out_.whole_vector = true;
                break;
            case VectorLength::kEither:
                out_.whole_vector = random_.chance(60);
                break;
            case VectorLength::kScalar:
                out_.whole_vector = random_.chance(10);
                break;
        }
    }

    unsigned random_register() { return static_cast<unsigned>(random_.below(16)); }

    void choose_registers() {
        if (form_.digit >= 0) reg_ = static_cast<unsigned>(form_.digit);
        for (const Operand& operand : form_.operands) {
            switch (operand.kind) {
                case 'G':
                    reg_ = random_register();
                    out_.register_operand = static_cast<int>(reg_);
                    break;
                case 'V':
                case 'P':
                    reg_ = random_register();
                    break;
                case 'S':
                    reg_ = static_cast<unsigned>(random_.below(6));
                    break;
                case 'C':
                    reg_ = random_.pick(std::array<unsigned, 4>{0, 2, 3, 4});
                    break;
                case 'H':
                    vvvv_ = random_register();
                    break;
                case 'B':
                    vvvv_ = random_register();
                    out_.register_operand = static_cast<int>(vvvv_);
                    break;
                case 'Z':
                    in_opcode_ = random_register();
                    out_.register_operand = static_cast<int>(in_opcode_);
                    break;
                default:
                    break;
            }
            byte_register_ |=
                operand.size == 'b' && std::string_view("EGZ").find(operand.kind) != std::string_view::npos;
        }
        const Operand* rm = form_.rm();
        if (!rm) return;
        bool can_be_memory =
            rm->kind == 'E' || rm->kind == 'M' || rm->kind == 'W' || rm->kind == 'Q' || rm->kind == 'Y';
        if (rm->kind == 'M' || rm->kind == 'Y') CHECK(choices_.memory, "{}", form_.name);
        out_.memory = choices_.memory && can_be_memory;
        if (out_.memory) {
            out_.shape = choices_.shape;
            out_.memory_size = memory_size(*rm);
        } else {
            rm_ = random_register();
            out_.rm_register = static_cast<int>(rm_);
        }
    }

    unsigned vector_size() const { return out_.whole_vector ? 32 : 16; }

    unsigned memory_size(const Operand& operand) const {
        if (form_.has(kTagImage)) return 512;
        switch (operand.size) {
            case 'b':
                return 1;
            case 'w':
                return 2;
            case 'd':
                return 4;
            case 'q':
                return 8;
            case 't':
                return 10;
            case 'o':
                return 16;
            case 'x':
                return vector_size();
            case 'h':
                return vector_size() / 2;
            case 'f':
                return vector_size() / 4;
            case 'e':
                return vector_size() / 8;
            default:
                return out_.operand_size;
        }
    }

    void legacy_prefixes() {
        Bytes& bytes = out_.bytes;
        if (choices_.lock) bytes.push_back(0xf0);
        if (choices_.repeat && !form_.prefix && !form_.vex) bytes.push_back(choices_.repeat);
        if (choices_.shape.segment_prefix) bytes.push_back(choices_.shape.segment_prefix);
        if (choices_.shape.address32) bytes.push_back(0x67);
        if (word_ && form_.prefix != 0x66 && !form_.vex) bytes.push_back(0x66);
        if (form_.prefix && !form_.vex) bytes.push_back(form_.prefix);
    }

    unsigned rex_bits() const {
        unsigned base =
            out_.memory ? (out_.shape.base > 0 ? static_cast<unsigned>(out_.shape.base) : 0) : rm_;
        unsigned index = out_.memory && out_.shape.index > 0 ? static_cast<unsigned>(out_.shape.index) : 0;
        unsigned low = in_opcode_ ? in_opcode_ : base;
        return (wide_ ? 8u : 0u) | (reg_ >> 3 << 2) | (index >> 3 << 1) | (low >> 3);
    }

    void rex_and_map() {
        unsigned rex = rex_bits();
        if (form_.digit >= 0) rex &= ~4u;
        bool needless = random_.chance(byte_register_ ? 40 : 3);
        if (rex || needless) out_.bytes.push_back(static_cast<uint8_t>(0x40 | rex));
        if (form_.map != OpcodeMap::kOneByte) out_.bytes.push_back(0x0f);
        if (form_.map == OpcodeMap::k0F38) out_.bytes.push_back(0x38);
        if (form_.map == OpcodeMap::k0F3A) out_.bytes.push_back(0x3a);
    }

    void vex_prefix() {
        unsigned rex = rex_bits();
        if (form_.digit >= 0) rex &= ~4u;
        unsigned pp = form_.prefix == 0x66 ? 1 : form_.prefix == 0xf3 ? 2 : form_.prefix == 0xf2 ? 3 : 0;
        unsigned inverted = vvvv_ == kNoNumber ? 15 : 15 - vvvv_;
        out_.bytes.push_back(0xc4);
        out_.bytes.push_back(static_cast<uint8_t>((~rex & 7) << 5 | static_cast<unsigned>(form_.map)));
        out_.bytes.push_back(
            static_cast<uint8_t>((rex >> 3) << 7 | inverted << 3 | (out_.whole_vector ? 4 : 0) | pp));
    }

    void modrm() {
        if (form_.fixed_modrm >= 0) {
            unsigned low = 0;
            for (const Operand& operand : form_.operands)
                if (operand.kind == 'i') low = static_cast<unsigned>(random_.below(8));
            out_.bytes.push_back(static_cast<uint8_t>(static_cast<unsigned>(form_.fixed_modrm) | low));
        } else if (out_.memory) {
            memory_modrm();
        } else {
            out_.bytes.push_back(static_cast<uint8_t>(0xc0 | (reg_ & 7) << 3 | (rm_ & 7)));
        }
    }

    void memory_modrm() {
        MemoryShape& shape = out_.shape;
        unsigned reg = (reg_ & 7) << 3;
        unsigned base = static_cast<unsigned>(shape.base);
        bool no_base = shape.base < 0;
        if (shape.rip_relative) {
            out_.bytes.push_back(static_cast<uint8_t>(reg | 5));
            shape.displacement_size = 4;
            return displacement();
        }
        bool sib = no_base || shape.index >= 0 || (base & 7) == 4 || random_.chance(5);
        if (no_base) shape.displacement_size = 4;
        if (!no_base && (base & 7) == 5 && shape.displacement_size == 0) shape.displacement_size = 1;
        unsigned mod = no_base || shape.displacement_size == 0 ? 0 : shape.displacement_size == 1 ? 1 : 2;
        out_.bytes.push_back(static_cast<uint8_t>(mod << 6 | reg | (sib ? 4 : base & 7)));
        if (sib) {
            unsigned index = shape.index < 0 ? 4 : static_cast<unsigned>(shape.index) & 7;
            out_.bytes.push_back(
                static_cast<uint8_t>(shape.scale << 6 | index << 3 | (no_base ? 5 : base & 7)));
        }
        displacement();
    }

    void displacement() {
        unsigned size = out_.shape.displacement_size;
        out_.displacement_at = out_.bytes.size();
        for (unsigned i = 0; i < size; ++i)
            out_.bytes.push_back(i == 0 && size == 1 ? static_cast<uint8_t>(choices_.displacement8) : 0);
    }

    void number(unsigned size, uint64_t value) {
        for (unsigned i = 0; i < size; ++i) out_.bytes.push_back(static_cast<uint8_t>(value >> 8 * i));
    }

    void immediate(const Operand& operand) {
        if (operand.kind == 'L') {
            number(1, random_register() << 4 | random_.below(8));
        } else if (operand.kind == 'I') {
            unsigned size = operand.size == 'b'   ? 1
                            : operand.size == 'w' ? 2
                            : operand.size == 'z' ? (out_.operand_size == 2 ? 2 : 4)
                                                  : out_.operand_size;
            uint64_t value = interesting_number(random_, size);
            if (form_.map == OpcodeMap::kOneByte && (form_.opcode == 0xc8 || form_.opcode == 0xc2))
                value &= 0x1f;  // ENTER, RET: small frames
            if (form_.has(kTagFrame) && size == 1) value = random_.chance(70) ? 0 : value % 4;  // levels
            number(size, value);
        } else if (operand.kind == 'J') {
            out_.branch_at = out_.bytes.size();
            out_.branch_size = operand.size == 'b' ? 1 : 4;
            number(out_.branch_size, 0);
        } else if (operand.kind == 'O') {
            out_.memory = true;
            out_.memory_size = memory_size(operand);
            out_.shape.address32 = choices_.shape.address32;
            out_.shape.segment_prefix = choices_.shape.segment_prefix;
            out_.shape.displacement_size = choices_.shape.address32 ? 4 : 8;
            displacement();
        }
    }

    const Form& form_;
    const Choices& choices_;
    Random& random_;
    Encoded out_;
    bool word_ = false;
    bool wide_ = false;
    bool byte_register_ = false;
    unsigned reg_ = 0;
    unsigned rm_ = 0;
    unsigned vvvv_ = kNoNumber;
    unsigned in_opcode_ = 0;
};

}  // namespace

Encoded assemble(const Form& form, const Choices& choices, Random& random) {
    return Assembler(form, choices, random).assemble();
}

}  // namespace lockstep::instructions
