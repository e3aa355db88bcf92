// SPDX-License-Identifier: Apache-2.0
// One instruction a case.
//
//     [one that sets flags]  the instruction  [some that read or overwrite flags]  int3 int3
//
// Operands are drawn first, then a target address for the memory operand; the base register (or the
// displacement) is then solved for, so that the access lands on the target whatever the addressing form is.
// Registers with a role of their own (RSP of a PUSH, RSI of a MOVS) are set before and stay.
#include "generate.h"

#include <charconv>
#include <cstring>
#include <span>

#include "base/check.h"
#include "disassemble.h"
#include "generate_parts.h"
#include "oracle_native.h"

namespace lockstep::instructions {

namespace {

using namespace cpu;

constexpr uint64_t kLow32 = 0xffffffff;
constexpr uint8_t kLeave = 0xc9, kCmpsb = 0xa6, kCmps = 0xa7, kPopf = 0x9d;

class FormCase {
  public:
    FormCase(size_t number, uint64_t seed, Neighbours neighbours)
        : form_(forms()[number]), random_(seed * 0x2545f4914f6cdd1d + number), neighbours_(neighbours) {
        case_.name = fmt::format("form:{}:{}", number, seed);
    }

    Case generate() {
        randomise_state(random_, state());
        state().fx = random_fx(random_, form_.has(kTagFloat));
        if (host_has_avx()) state().upper_halves = random_upper_halves(random_, form_.has(kTagFloat));
        state().gpr[kRsp] = (kData + 0x800 + random_.below(0x3000)) & (random_.chance(85) ? ~7ull : ~0ull);
        case_.large_operand = form_.has(kTagImage);
        Choices choices = choose();
        encoded_ = assemble(form_, choices, random_);
        set_roles(choices);
        place_code();
        if (encoded_.memory) reach_target();
        set_register_target();
        values_at_target();
        finish_code();
        case_.count_instructions =
            random_.chance(25) && !form_.has(kTagStepFlag) && !form_.has(kTagGather) && !uses_flags_image_;
        return std::move(case_);
    }

  private:
    UserState& state() { return case_.state; }
    uint64_t& gpr(int number) { return case_.state.gpr[static_cast<size_t>(number)]; }

    Choices choose() {
        Choices choices;
        const Operand* rm = form_.rm();
        choices.memory =
            rm && (rm->kind == 'M' || rm->kind == 'Y' || (rm->kind != 'R' && random_.chance(65)));
        bool control_register =
            form_.map == OpcodeMap::k0F && (form_.opcode & 0xfc) == 0x20;  // LOCK means CR8 on AMD
        choices.lock = random_.chance(form_.has(kTagLock) && choices.memory ? 30 : 1) &&
                       !form_.has(kTagString) && !control_register;
        if (form_.has(kTagString) && random_.chance(70)) choices.repeat = random_.chance(60) ? 0xf3 : 0xf2;
        if (form_.has(kTagReturn) && random_.chance(30)) choices.repeat = 0xf3;
        MemoryShape& shape = choices.shape;
        if (!random_.chance(12)) shape.base = static_cast<int>(random_.below(16));
        if (shape.base < 0 && random_.chance(60)) shape.rip_relative = true;
        if (!shape.rip_relative && random_.chance(50)) shape.index = static_cast<int>(random_.below(16));
        if (shape.index == kRsp) shape.index = -1;
        if (form_.has(kTagGather)) {
            shape.rip_relative = false;
            shape.vector_index = true;
            shape.index = static_cast<int>(random_.below(16));
        }
        shape.scale = static_cast<unsigned>(random_.below(4));
        shape.displacement_size = random_.pick(std::array<unsigned, 3>{0, 1, 4});
        choices.displacement8 = static_cast<int8_t>(random_.next());
        if (random_.chance(20))
            shape.segment_prefix =
                random_.pick(std::array<uint8_t, 8>{0x64, 0x64, 0x64, 0x65, 0x65, 0x65, 0x2e, 0x3e});
        if (form_.has(kTagBranch) && !choices.memory) shape.segment_prefix = 0;
        bool counted_branch = form_.has(kTagBranch) && (form_.opcode & 0xfc) == 0xe0;
        bool addresses = choices.memory || form_.has(kTagString) || form_.has(kTagTable) ||
                         form_.has(kTagMaskMove) || counted_branch;
        shape.address32 = addresses && random_.chance(7);
        return choices;
    }

    uint64_t segment_base() const {
        uint8_t prefix = encoded_.shape.segment_prefix;
        return prefix == 0x64 ? case_.state.fs_base : prefix == 0x65 ? case_.state.gs_base : 0;
    }

    void pin(int number, uint64_t value) {
        gpr(number) = value;
        pinned_ |= 1u << number;
    }

    /// Registers with a role that the operands don't show.
    void set_roles(const Choices& choices) {
        shape32_ = choices.shape.address32;
        encoded_.shape.segment_prefix = choices.shape.segment_prefix;
        if (form_.has(kTagStack)) pin(kRsp, stack_target());
        if (form_.has(kTagFrame))
            pin(kRbp, form_.opcode == kLeave ? stack_target() : kData + 0x800 + 8 * random_.below(0x100));
        if (form_.has(kTagFrame) && encoded_.bytes.back() != 0)
            pin(kRsp, kData + 0x2800);  // nested: order of faults
        if (form_.has(kTagString)) set_string_roles();
        if (form_.has(kTagMaskMove)) pin(kRdi, pick_target(random_, 16, Reach::kAnywhere) - segment_base());
        if (form_.has(kTagTable)) {
            gpr(kRbx) = pick_target(random_, 1, Reach::kAnywhere) - segment_base() - (gpr(kRax) & 0xff);
            if (shape32_) gpr(kRbx) ^= random_.next() << 32;
        }
        if (form_.has(kTagDivide)) set_dividend();
        if (form_.has(kTagBitOffset) && encoded_.memory && random_.chance(85))
            pin(encoded_.register_operand, static_cast<uint64_t>(random_.between(-3000, 3000)));
        if (form_.has(kTagBranch) && random_.chance(50)) gpr(kRcx) = random_.below(3);
    }

    uint64_t stack_target() {
        uint64_t target = pick_target(random_, 8, Reach::kAnywhere);
        return random_.chance(85) ? target & ~7ull : target;
    }

    void set_string_roles() {
        gpr(kRsi) = pick_target(random_, encoded_.operand_size, Reach::kAnywhere) - segment_base();
        gpr(kRdi) = pick_target(random_, encoded_.operand_size, Reach::kAnywhere);
        // Which operand of a comparison is read first isn't defined: at most one faults.
        bool comparison = form_.opcode == kCmpsb || form_.opcode == kCmps;
        if (comparison && random_.chance(50))
            gpr(kRdi) = kData + 0x1000 + random_.below(0x1800);
        else if (comparison)
            gpr(kRsi) = kData + 0x1000 + random_.below(0x1800) - segment_base();
        else if (random_.chance(20))
            gpr(kRdi) = gpr(kRsi) + static_cast<uint64_t>(random_.between(-16, 16));
        gpr(kRcx) = random_.chance(70)   ? random_.below(40)
                    : random_.chance(70) ? random_.below(6000)
                                         : gpr(kRcx);
        if (shape32_)
            for (int number : {+kRsi, +kRdi, +kRcx}) gpr(number) ^= random_.next() << 32;
    }

    void set_dividend() {
        switch (random_.below(3)) {
            case 0:
                pin(kRdx, random_.below(4));
                break;
            case 1:
                pin(kRdx, gpr(kRax) >> 63 ? ~uint64_t{0} : 0);
                break;
            default:
                break;
        }
        if (random_.chance(form_.rm()->size == 'b' ? 70 : 30))
            pin(kRax, (gpr(kRax) & ~0xffffull) | random_.below(0x400));
    }

    /// Decides where the code lies and writes the first part of it.
    void place_code() {
        if (neighbours_ == Neighbours::kSome && random_.chance(30)) flag_setter();
        instruction_at_ = code_.size();
        bool writable = random_.chance(15);
        uint64_t region = writable ? kWritableCode : kCode;
        uint64_t pages = writable ? kWritableCodePages : kCodePages;
        uint64_t boundary = region + kPageSize * (1 + random_.below(pages - 1));
        if (random_.chance(2) && !form_.has(kTagFaults))
            boundary = region + pages * kPageSize;  // may run into nothing
        uint64_t size = instruction_at_ + encoded_.bytes.size();
        case_.code_start = random_.chance(35) ? boundary - random_.below(size + 4)
                                              : region + random_.below(pages * kPageSize - 128);
        state().rip = case_.code_start;
    }

    void flag_setter() {
        constexpr std::array<std::array<uint8_t, 3>, 5> kSetters{{{0x48, 0x39, 0xd8},
                                                                  {0x4d, 0x85, 0xe4},
                                                                  {0x0f, 0xa3, 0xd8},
                                                                  {0xf9, 0xf5, 0xf9},
                                                                  {0x44, 0x38, 0xd7}}};
        for (uint8_t byte : random_.pick(kSetters)) code_.push_back(byte);
    }

    uint64_t after_instruction() const { return case_.code_start + instruction_at_ + encoded_.bytes.size(); }

    /// Makes the memory operand's address the target, as far as the free registers and the displacement
    /// allow.
    void reach_target() {
        const MemoryShape& shape = encoded_.shape;
        bool low = shape.base < 0 || pinned(shape.base) || shape.address32;
        target_ = pick_target(random_, encoded_.memory_size, low ? Reach::kLow : Reach::kAnywhere);
        if (form_.has(kTagImage) && random_.chance(90)) target_ = kData + 16 * random_.below(0x300);
        uint64_t wanted = target_ - segment_base();
        if (shape.index >= 0 && shape.base != shape.index && !pinned(shape.index) && random_.chance(50))
            gpr(shape.index) = random_.below(64);
        uint64_t scaled = shape.index >= 0 ? gpr(shape.index) << shape.scale : 0;
        if (shape.vector_index) {
            set_indices();
            scaled = 0;
        }
        if (shape.rip_relative) {
            set_displacement(wanted - after_instruction());
        } else if (shape.base < 0) {
            if (shape.index >= 0 && !pinned(shape.index) && !shape.vector_index) {
                gpr(shape.index) = random_.below(4096);
                scaled = gpr(shape.index) << shape.scale;
            }
            set_displacement(wanted - scaled);
        } else if (pinned(shape.base)) {
            set_displacement(wanted - scaled - gpr(shape.base));
        } else {
            solve_base(wanted);
        }
        target_ = address();
    }

    /// Of a gather: mostly near to its address.
    void set_indices() {
        auto number = static_cast<size_t>(encoded_.shape.index);
        unsigned size = form_.opcode & 1 ? 8 : 4;
        uint8_t* halves[] = {&state().fx.bytes[160 + 16 * number], &state().upper_halves.bytes[16 * number]};
        for (uint8_t* half : halves)
            for (unsigned at = 0; at < 16; at += size) {
                uint64_t index = static_cast<uint64_t>(random_.between(-40, 40));
                if (random_.chance(4)) index = random_.next();
                std::memcpy(half + at, &index, size);
            }
    }

    bool pinned(int number) const { return pinned_ >> number & 1; }

    void set_displacement(uint64_t value) {
        unsigned size = encoded_.shape.displacement_size;
        if (size >= 4) encoded_.set(encoded_.displacement_at, size, value);
    }

    uint64_t displacement() const {
        uint64_t value = 0;
        unsigned size = encoded_.shape.displacement_size;
        std::memcpy(&value, &encoded_.bytes[encoded_.displacement_at], size);
        if (size == 1) return static_cast<uint64_t>(static_cast<int8_t>(value));
        if (size == 4 && !(encoded_.shape.base < 0 && encoded_.shape.address32 && encoded_.shape.index < 0))
            return static_cast<uint64_t>(static_cast<int32_t>(value));
        return value;
    }

    void solve_base(uint64_t wanted) {
        const MemoryShape& shape = encoded_.shape;
        if (shape.displacement_size == 4)
            set_displacement(random_.chance(50) ? random_.next() : random_.below(4096));
        uint64_t rest = wanted - displacement();
        uint64_t value = rest;
        if (shape.vector_index) {
            // the indices are small
        } else if (shape.index == shape.base) {
            uint64_t factor = 1 + (uint64_t{1} << shape.scale), inverse = factor;
            for (int i = 0; i < 6; ++i) inverse *= 2 - factor * inverse;  // of an odd factor, modulo 2^64
            value = shape.scale == 0 ? rest >> 1 : rest * inverse;
        } else if (shape.index >= 0) {
            value = rest - (gpr(shape.index) << shape.scale);
        }
        if (shape.address32) value = (value & kLow32) | random_.next() << 32;
        gpr(shape.base) = value;
    }

    /// The linear address of the memory operand.
    uint64_t address() const {
        const MemoryShape& shape = encoded_.shape;
        uint64_t value = displacement();
        if (shape.rip_relative) value += after_instruction();
        if (shape.base >= 0) value += case_.state.gpr[static_cast<size_t>(shape.base)];
        if (shape.index >= 0 && !shape.vector_index)
            value += case_.state.gpr[static_cast<size_t>(shape.index)] << shape.scale;
        if (shape.address32) value &= kLow32;
        return value + segment_base();
    }

    /// The register operand of an indirect branch.
    void set_register_target() {
        if (form_.has(kTagBranch) && encoded_.rm_register >= 0 && form_.digit >= 0)
            branch_register_ = encoded_.rm_register;
    }

    /// What the operands point to.
    void values_at_target() {
        if (encoded_.memory) {
            unsigned size = encoded_.memory_size;
            if (form_.has(kTagImage)) {
                cpu::FxState fx = random_fx(random_, true);
                if (random_.chance(5)) fx.bytes[26] = 1;  // a reserved bit of MXCSR: #GP
                add_patch(case_, target_, Bytes(fx.bytes.begin(), fx.bytes.end()));
                case_.ignored_memory.push_back({target_ + 6, 18});  // FOP, FIP, FDP
                case_.ignored_memory.push_back({target_ + 28, 4});  // MXCSR_MASK
            } else if (form_.map == OpcodeMap::k0F && form_.opcode == 0xae && form_.digit == 2) {
                add_patch(case_, target_, random_.chance(90) ? random_mxcsr(random_) : random_.next(), 4);
            } else if (form_.group == Group::kX87 && form_.opcode == 0xd9 && form_.digit == 5) {
                add_patch(case_, target_, 0x7f | random_.below(16) << 8, 2);
            } else if (form_.has(kTagFloat) ? random_.chance(80) : random_.chance(50)) {
                uint64_t value =
                    form_.has(kTagFloat) ? random_float_bits(random_) : interesting_number(random_);
                add_patch(case_, target_, value, std::min(size, 8u));
            }
        }
        if (form_.has(kTagCompare) && random_.chance(60)) equal_comparand();
        if (form_.has(kTagDivide) && encoded_.rm_register >= 0 && gpr(encoded_.rm_register) == 0)
            gpr(encoded_.rm_register) = 3;
    }

    /// RAX (or RDX:RAX) equal to the destination.
    void equal_comparand() {
        if (!encoded_.memory) {
            gpr(kRax) = gpr(encoded_.rm_register);
            return;
        }
        uint64_t low = random_.next(), high = random_.next();
        unsigned half = form_.operands[0].kind == 'M' ? encoded_.memory_size / 2 : encoded_.memory_size;
        if (!add_patch(case_, target_, low, half)) return;
        bool roles_are_free = encoded_.shape.base != kRax && encoded_.shape.index != kRax;
        if (roles_are_free) gpr(kRax) = low;
        if (half == encoded_.memory_size) return;
        add_patch(case_, target_ + half, high, half);
        if (encoded_.shape.base != kRdx && encoded_.shape.index != kRdx) gpr(kRdx) = high;
    }

    /// What follows the instruction, and where branches go: over the first INT3.
    void finish_code() {
        Bytes suffix;
        if (neighbours_ == Neighbours::kSome)
            for (uint64_t n = random_.below(4); n > 0; --n) flag_user(suffix);
        suffix.push_back(0xcc);
        uint64_t first_stop = after_instruction(), second_stop = first_stop + suffix.size();
        if (encoded_.branch_size) encoded_.set(encoded_.branch_at, encoded_.branch_size, suffix.size());
        if (branch_register_ >= 0) gpr(branch_register_) = second_stop;
        if (form_.has(kTagBranch) && encoded_.memory) add_patch(case_, target_, second_stop, 8);
        if (form_.has(kTagStepFlag) && form_.opcode == kPopf) add_patch(case_, gpr(kRsp), popped_flags(), 8);
        // A target that isn't canonical is refused by the branch itself or by the next fetch, as CPUs differ.
        if (form_.has(kTagReturn))
            add_patch(case_, gpr(kRsp), random_.chance(90) ? second_stop : random_.next() >> 18, 8);
        if (form_.group == Group::kSystem && form_.opcode == 0xcd) harmless_interrupt();
        code_.insert(code_.end(), encoded_.bytes.begin(), encoded_.bytes.end());
        code_.insert(code_.end(), suffix.begin(), suffix.end());
        code_.push_back(0xcc);
        while (!image_offset(case_.code_start + code_.size() - 1)) code_.pop_back();
        case_.code_size = static_cast<unsigned>(code_.size());
        CHECK(add_patch(case_, case_.code_start, code_));
    }

    uint64_t popped_flags() {
        uint64_t flags = random_.next();
        return random_.chance(85) ? flags & ~kFlagTf : flags;
    }

    /// INT 4 and INT 0x80 are open to user code on the bare CPU's kernel.
    void harmless_interrupt() {
        uint8_t& vector = encoded_.bytes.back();
        if (vector == 4 || vector == 0x80) vector = 5;
    }

    void flag_user(Bytes& out) {
        constexpr std::string_view kUsers[] = {
            "\x48\x85\xc0",      // test rax, rax
            "\x39\xfe",          // cmp esi, edi
            "\x4d\x01\xc8",      // add r8, r9
            "\x49\xff\xc2",      // inc r10
            "\x41\x0f\x94\xc3",  // sete r11b
            "\x48\x11\xcb",      // adc rbx, rcx
            "\x9f",              // lahf
            "\x48\x0f\x44\xd6",  // cmovz rdx, rsi
            "\x49\x0f\xbc\xc5",  // bsf rax, r13
            "\x49\xd3\xe4",      // shl r12, cl
            "\x49\xf7\xe7",      // mul r15
            "\x41\xd1\xde",      // rcr r14d, 1
            "\x4c\x8b\x34\x24",  // mov r14, [rsp]
            "\x9c",              // pushfq
        };
        std::string_view bytes = random_.pick<std::string_view>(kUsers);
        uses_flags_image_ |= bytes == "\x9c";
        out.insert(out.end(), bytes.begin(), bytes.end());
    }

    const Form& form_;
    Random random_;
    Neighbours neighbours_;
    Case case_;
    Encoded encoded_;
    Bytes code_;
    size_t instruction_at_ = 0;
    uint64_t target_ = 0;
    uint32_t pinned_ = 0;
    int branch_register_ = -1;
    bool shape32_ = false;
    bool uses_flags_image_ = false;
};

bool parse_number(std::string_view text, uint64_t& value) {
    auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
    return failure == std::errc() && end == text.data() + text.size();
}

}  // namespace

Case generate_form_case(size_t form, uint64_t seed, Neighbours neighbours) {
    return FormCase(form, seed, neighbours).generate();
}

Result<Case> generate_named_case(std::string_view name) {
    for (Case& known : generate_known_cases())
        if (known.name == name) return std::move(known);
    size_t first = name.find(':'), last = name.rfind(':');
    uint64_t form = 0, seed = 0;
    if (first == std::string_view::npos || !parse_number(name.substr(last + 1), seed))
        return error("no such case: {}", name);
    if (name.substr(0, first) == "sequence") return generate_sequence_case(seed);
    if (name.substr(0, first) == "random") return generate_random_case(seed);
    if (name.substr(0, first) == "narrow") return generate_narrow_case(seed);
    if (name.substr(0, first) != "form" || first == last ||
        !parse_number(name.substr(first + 1, last - first - 1), form) || form >= forms().size())
        return error("no such case: {}", name);
    return generate_form_case(form, seed);
}

}  // namespace lockstep::instructions
