// SPDX-License-Identifier: Apache-2.0
// Sequences.
//
// Four registers (and RSP) point into the sandbox and two hold small indices; memory operands are made of
// those, and instructions that would overwrite them are drawn again. So a sequence mostly runs to its end,
// over whatever the remaining registers hold. Items of a sequence:
//
//     an instruction of a random form
//     jcc or jmp over the next few items
//     mov counter, n; items; dec counter; jnz back        (or LOOP)
//     call f; jmp over; f: items; ret; over:
//     lea register, [rip + label]; jmp register
//     mov rsi, ..; mov rdi, ..; mov ecx, ..; rep string instruction
#include <cstring>
#include <span>

#include "base/check.h"
#include "disassemble.h"
#include "generate.h"
#include "generate_parts.h"
#include "oracle_native.h"

namespace lockstep::instructions {

namespace {

using namespace cpu;

struct Item {
    Encoded code;
    int branch_to = -1;        ///< item that the branch goes to
    int displacement_to = -1;  ///< item whose address the RIP-relative displacement reaches
    uint64_t target = 0;       ///< or that address
};

class SequenceCase {
  public:
    explicit SequenceCase(uint64_t seed) : random_(seed * 0x9e3779b97f4a7c15 + 7) {
        case_.name = fmt::format("sequence:{}", seed);
    }

    Case generate() {
        randomise_state(random_, case_.state);
        case_.state.rflags &= ~uint64_t{kFlagDf};
        case_.state.fx = random_fx(random_, true);
        if (host_has_avx()) case_.state.upper_halves = random_upper_halves(random_, true);
        choose_roles();
        size_t length = 2 + random_.below(random_.chance(30) ? 38 : 12);
        flavour_ = static_cast<unsigned>(random_.below(4));
        while (items_.size() < length) add_item(2);
        lay_out();
        case_.count_instructions = random_.chance(15) && !uses_flags_image_;
        return std::move(case_);
    }

  private:
    void protect(int number) { protected_ |= 1u << number; }
    bool is_protected(int number) const { return protected_ >> number & 1; }
    int free_register() {
        for (;;) {
            int number = static_cast<int>(random_.below(16));
            if (!is_protected(number)) return number;
        }
    }

    void choose_roles() {
        protect(kRsp);
        case_.state.gpr[kRsp] = kData + 0x1000 + 8 * random_.below(0x400);
        for (int& pointer : pointers_) {
            pointer = free_register();
            protect(pointer);
            uint64_t where = random_.chance(60)
                                 ? kData + 0x200 + random_.below(0x3a00)
                                 : kData + kPageSize * (1 + random_.below(3)) - random_.below(32);
            if (random_.chance(15)) where = kDataAfterHole + kPageSize - random_.below(64);
            if (random_.chance(10)) where = kHigh + kPageSize - random_.below(64);
            bool aligned = &pointer != &pointers_.back();
            case_.state.gpr[static_cast<size_t>(pointer)] = where & (aligned ? ~15ull : ~0ull);
        }
        for (int& index : indices_) {
            index = free_register();
            protect(index);
            bool aligned = &index == &indices_.front();
            case_.state.gpr[static_cast<size_t>(index)] = aligned ? 16 * random_.below(4) : random_.below(32);
        }
        case_.state.gs_base = kData + 16 * random_.below(0x100);
    }

    void add_item(unsigned depth) {
        uint64_t roll = random_.below(100);
        if (depth && roll < 12) return add_forward_branch(depth - 1);
        if (depth && roll < 18) return add_loop(depth - 1);
        if (depth && roll < 22) return add_call(depth - 1);
        if (depth && roll < 25) return add_indirect_jump(depth - 1);
        if (roll < 29) return add_string();
        add_instruction();
    }

    void add_items(uint64_t count, unsigned depth) {
        while (count--) add_item(depth);
    }

    // Instructions of the table.

    const Form& draw_form() {
        for (;;) {
            const Form& form = forms()[random_.below(forms().size())];
            if (form.has(kTagAlone) || form.has(kTagFaults) || form.has(kTagBranch) || form.has(kTagString))
                continue;
            if (form.has(kTagDivide) && !random_.chance(10)) continue;
            if (form.has(kTagStepFlag) && !random_.chance(30)) continue;
            unsigned percent = form.group == Group::kInteger  ? 100
                               : form.group == Group::kVector ? (flavour_ == 1 ? 100 : 12)
                               : flavour_ == 2                ? 100
                                                              : 6;
            if (random_.chance(percent)) return form;
        }
    }

    /// `vector`: mostly an address that is a multiple of 16.
    MemoryShape draw_shape(bool vector) {
        MemoryShape shape;
        uint64_t roll = random_.below(100);
        if (roll < 10) {
            shape.rip_relative = true;
        } else if (roll < 14) {
            shape.base = -1;
        } else if (roll < 24) {
            shape.base = vector ? pointers_[1] : +kRsp;
        } else {
            shape.base = vector && random_.chance(97) ? pointers_.front() : random_.pick(pointers_);
        }
        if (shape.base >= 0 && random_.chance(45)) {
            shape.index = vector ? indices_.front() : random_.pick(indices_);
            shape.scale = static_cast<unsigned>(random_.below(4));
        }
        shape.displacement_size = shape.base < 0 ? 4 : random_.chance(50) ? 1 : 0;
        if (shape.base < 0 && !shape.rip_relative && random_.chance(40)) shape.segment_prefix = 0x65;
        return shape;
    }

    bool acceptable(const Form& form, const Encoded& code) {
        auto is_pointer = [&](int number) {
            return std::find(pointers_.begin(), pointers_.end(), number) != pointers_.end();
        };
        auto is_index = [&](int number) {
            return std::find(indices_.begin(), indices_.end(), number) != indices_.end();
        };
        if (form.has(kTagMaskMove) && !is_pointer(kRdi)) return false;
        if (form.has(kTagTable) && !is_pointer(kRbx)) return false;
        if (form.has(kTagBitOffset) && code.memory && !is_index(code.register_operand)) return false;
        std::optional<Disassembly> known = decode(code.bytes, kCode);
        if (!known) return random_.chance(3);
        if (known->explicit_writes & protected_) return false;
        return !(known->hidden_writes & protected_ & ~(1u << kRsp));
    }

    void add_instruction() {
        for (unsigned attempt = 0; attempt < 50; ++attempt) {
            const Form& form = draw_form();
            Choices choices;
            const Operand* rm = form.rm();
            choices.memory = rm && (rm->kind == 'M' || (rm->kind != 'R' && random_.chance(50)));
            bool vector = rm && rm->size == 'x';
            choices.shape = draw_shape(vector);
            choices.displacement8 = static_cast<int8_t>(vector               ? 16 * random_.between(-8, 7)
                                                        : random_.chance(70) ? 8 * random_.between(-8, 8)
                                                                             : random_.between(-128, 127));
            choices.lock = form.has(kTagLock) && choices.memory && random_.chance(25);
            if (!choices.memory) choices.shape.segment_prefix = 0;
            Item item;
            item.code = assemble(form, choices, random_);
            if (!acceptable(form, item.code)) continue;
            uses_flags_image_ |= form.has(kTagStepFlag);
            place_operand(item);
            items_.push_back(std::move(item));
            return;
        }
        items_.push_back(raw({0x90}));
    }

    /// Targets of RIP-relative and absolute operands.
    void place_operand(Item& item) {
        Encoded& code = item.code;
        if (!code.memory || code.shape.base >= 0) return;
        uint64_t target = random_.chance(95) ? (kData + random_.below(0x3f00)) & ~15ull
                                             : pick_target(random_, code.memory_size, Reach::kLow);
        if (code.shape.rip_relative)
            item.target = target;
        else
            code.set(code.displacement_at, code.shape.displacement_size,
                     target - (code.shape.segment_prefix ? case_.state.gs_base : 0));
    }

    // Shapes of control flow.

    static Item raw(Bytes bytes) {
        Item item;
        item.code.bytes = std::move(bytes);
        return item;
    }
    static Item branch(Bytes opcode, unsigned size) {
        Item item;
        item.code.branch_at = opcode.size();
        item.code.branch_size = size;
        item.code.bytes = std::move(opcode);
        item.code.bytes.resize(item.code.branch_at + size);
        return item;
    }
    static Item move_immediate(int number, uint64_t value, unsigned size) {
        unsigned n = static_cast<unsigned>(number);
        Bytes bytes{static_cast<uint8_t>((size == 8 ? 0x48 : 0x40) | n >> 3),
                    static_cast<uint8_t>(0xb8 | (n & 7))};
        for (unsigned i = 0; i < size; ++i) bytes.push_back(static_cast<uint8_t>(value >> 8 * i));
        return raw(std::move(bytes));
    }
    int next_item() const { return static_cast<int>(items_.size()); }

    void add_forward_branch(unsigned depth) {
        uint8_t condition = static_cast<uint8_t>(random_.below(16));
        bool near = random_.chance(50);
        size_t at = items_.size();
        if (random_.chance(10))
            items_.push_back(branch({0xe9}, 4));
        else
            items_.push_back(near ? branch({0x0f, static_cast<uint8_t>(0x80 | condition)}, 4)
                                  : branch({static_cast<uint8_t>(0x70 | condition)}, 1));
        add_items(1 + random_.below(near ? 6 : 2), near ? depth : 0);
        items_[at].branch_to = next_item();
    }

    void add_loop(unsigned depth) {
        int counter = random_.chance(25) && !is_protected(kRcx) ? +kRcx : free_register();
        bool was_protected = is_protected(counter);
        items_.push_back(move_immediate(counter, 1 + random_.below(6), 4));
        protect(counter);
        int top = next_item();
        add_items(1 + random_.below(5), depth);
        unsigned n = static_cast<unsigned>(counter);
        Item back = branch({0x0f, 0x85}, 4);
        items_.push_back(
            raw({static_cast<uint8_t>(0x48 | n >> 3), 0xff, static_cast<uint8_t>(0xc8 | (n & 7))}));
        back.branch_to = top;
        items_.push_back(std::move(back));
        if (!was_protected) protected_ &= ~(1u << counter);
    }

    void add_call(unsigned depth) {
        size_t call_at = items_.size();
        items_.push_back(branch({0xe8}, 4));
        if (random_.chance(50)) add_items(1, 0);
        size_t over_at = items_.size();
        items_.push_back(branch({0xe9}, 4));
        items_[call_at].branch_to = next_item();
        unsigned before = protected_;
        add_items(1 + random_.below(3), depth ? depth - 1 : 0);
        protected_ = before;
        items_.push_back(raw({0xc3}));
        items_[over_at].branch_to = next_item();
    }

    void add_indirect_jump(unsigned depth) {
        unsigned n = static_cast<unsigned>(free_register());
        uint8_t rex = static_cast<uint8_t>(0x48 | n >> 3 << 2);
        Item address = raw({rex, 0x8d, static_cast<uint8_t>(0x05 | (n & 7) << 3), 0, 0, 0, 0});
        address.code.displacement_at = 3;
        size_t at = items_.size();
        items_.push_back(std::move(address));
        Bytes jump{0xff, static_cast<uint8_t>(0xe0 | (n & 7))};
        if (n >= 8) jump.insert(jump.begin(), 0x41);
        items_.push_back(raw(std::move(jump)));
        add_items(random_.below(3), depth ? depth - 1 : 0);
        items_[at].displacement_to = next_item();
    }

    void add_string() {
        constexpr std::array<uint8_t, 10> kOpcodes = {0xa4, 0xa5, 0xa6, 0xa7, 0xaa,
                                                      0xab, 0xac, 0xad, 0xae, 0xaf};
        bool repeated = random_.chance(80);
        for (int number : {+kRsi, +kRdi, +kRcx})
            if (is_protected(number) && (number != kRcx || repeated)) return add_instruction();
        uint8_t opcode = random_.pick(kOpcodes);
        if (opcode == 0xad && is_protected(kRax)) opcode = 0xa5;
        if (opcode == 0xac && is_protected(kRax)) opcode = 0xa4;
        bool comparison = opcode == 0xa6 || opcode == 0xa7;  // which operand is read first isn't defined
        uint64_t from =
            comparison ? kData + random_.below(0x2000) : pick_target(random_, 8, Reach::kAnywhere);
        items_.push_back(move_immediate(kRsi, from, 8));
        items_.push_back(move_immediate(kRdi, pick_target(random_, 8, Reach::kAnywhere), 8));
        if (repeated)
            items_.push_back(move_immediate(kRcx, random_.below(random_.chance(80) ? 40 : 3000), 4));
        Bytes bytes;
        if (repeated) bytes.push_back(random_.chance(60) ? 0xf3 : 0xf2);
        if (random_.chance(50)) bytes.push_back(0x48);
        bytes.push_back(opcode);
        items_.push_back(raw(std::move(bytes)));
    }

    // Addresses.

    void lay_out() {
        items_.push_back(raw({0xcc}));
        std::vector<uint64_t> offsets;
        uint64_t size = 0;
        for (const Item& item : items_) {
            offsets.push_back(size);
            size += item.code.bytes.size();
        }
        uint64_t space = kCodePages * kPageSize - size;
        uint64_t start =
            random_.chance(60) ? kCode + kPageSize - random_.below(size + 4) : kCode + random_.below(space);
        Bytes code;
        for (size_t i = 0; i < items_.size(); ++i) {
            resolve(items_[i], start, offsets, i);
            code.insert(code.end(), items_[i].code.bytes.begin(), items_[i].code.bytes.end());
        }
        case_.code_start = start;
        case_.code_size = static_cast<unsigned>(code.size());
        case_.state.rip = start;
        CHECK(add_patch(case_, start, std::move(code)), "{}", case_.name);
    }

    void resolve(Item& item, uint64_t start, const std::vector<uint64_t>& offsets, size_t index) {
        uint64_t after = start + offsets[index] + item.code.bytes.size();
        auto address_of = [&](int number) { return start + offsets[static_cast<size_t>(number)]; };
        if (item.branch_to >= 0) {
            int64_t distance = static_cast<int64_t>(address_of(item.branch_to) - after);
            if (item.code.branch_size == 1 && (distance > 127 || distance < -128)) distance = 0;
            item.code.set(item.code.branch_at, item.code.branch_size, static_cast<uint64_t>(distance));
        }
        if (item.displacement_to >= 0)
            item.code.set(item.code.displacement_at, 4, address_of(item.displacement_to) - after);
        if (item.target) item.code.set(item.code.displacement_at, 4, item.target - after);
    }

    Random random_;
    Case case_;
    std::vector<Item> items_;
    std::array<int, 4> pointers_{};
    std::array<int, 2> indices_{};
    uint32_t protected_ = 0;
    unsigned flavour_ = 0;  ///< 1: many SSE instructions, 2: many x87 ones
    bool uses_flags_image_ = false;
};

}  // namespace

Case generate_sequence_case(uint64_t seed) { return SequenceCase(seed).generate(); }

}  // namespace lockstep::instructions
