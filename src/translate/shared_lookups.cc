// SPDX-License-Identifier: Apache-2.0
#include "translate/shared_lookups.h"

#include <algorithm>
#include <array>

#include "cpu/cpu_state.h"
#include "translate/accesses.h"
#include "translate/host_window.h"

namespace lockstep::translate {

namespace {

/// A group of more bytes would too often not be in one page.
constexpr int64_t kMostSpan = 512;
constexpr uint8_t kNoGpr = 0xff;

/// What the values of the general registers have in common with what they were: a register whose version is
/// the same has changed by the difference of the offsets.
struct Registers {
    std::array<uint32_t, 16> version{};
    std::array<int64_t, 16> offset{};

    void add(uint8_t number, int64_t amount) { offset[number] += amount; }
    void replace(uint8_t number) {
        ++version[number];
        offset[number] = 0;
    }
};

/// Bases that no instruction of a block changes.
constexpr uint8_t kFsBase = 16, kGsBase = 17, kRipBase = 18;
constexpr size_t kBases = 19;

struct Access {
    bool shareable = false;
    uint8_t fixed_base = kNoGpr;  ///< one of those, where nothing but a displacement is added
    uint8_t base = kNoGpr;
    uint8_t index = kNoGpr;
    uint8_t scale = 1;
    uint32_t base_version = 0;
    uint32_t index_version = 0;
    int64_t offset = 0;  ///< from the sum of the registers as they were when their versions began
    int64_t size = 0;
    bool write = false;

    bool same_registers(const Access& other) const {
        return base == other.base && index == other.index && scale == other.scale &&
               base_version == other.base_version && index_version == other.index_version;
    }
};

struct Group {
    Access first;
    size_t first_plan = 0;
    unsigned segment = 0;  ///< branches of the block before the first access
    bool write = false;
    int64_t low = 0, high = 0;
    unsigned count = 0;
};

uint8_t gpr64(ZydisRegister reg) {
    return ZydisRegisterGetClass(reg) == ZYDIS_REGCLASS_GPR64 ? static_cast<uint8_t>(ZydisRegisterGetId(reg))
                                                              : kNoGpr;
}

/// An access with the values that its registers have here; of some nothing is known but that they are made.
Access located(const Registers& registers, const GuestInstruction& instruction,
               const EncodedAccess& encoded) {
    Access access{.size = encoded.size, .write = encoded.write};
    if (!encoded.operand) {
        access.shareable = true;
        access.base = encoded.base;
        access.base_version = registers.version[access.base];
        access.offset = registers.offset[access.base] + encoded.displacement;
        return access;
    }
    if (instruction.kind == Kind::kMoveOffset || instruction.kind == Kind::kBitString) return {};
    const auto& mem = encoded.operand->mem;
    bool segment = mem.segment == ZYDIS_REGISTER_FS || mem.segment == ZYDIS_REGISTER_GS;
    bool wide = instruction.decoded.address_width == 64;
    access.base = gpr64(mem.base);
    if (wide && segment && mem.base == ZYDIS_REGISTER_NONE && mem.index == ZYDIS_REGISTER_NONE) {
        access.fixed_base = mem.segment == ZYDIS_REGISTER_FS ? kFsBase : kGsBase;
        access.offset = mem.disp.value;
    } else if (wide && !segment && mem.base == ZYDIS_REGISTER_RIP) {
        access.fixed_base = kRipBase;
        access.offset = static_cast<int64_t>(instruction.next_pc()) + mem.disp.value;
    }
    if (segment || access.base == kNoGpr || !wide) return access;
    access.base_version = registers.version[access.base];
    access.offset = registers.offset[access.base] + mem.disp.value;
    if (mem.index != ZYDIS_REGISTER_NONE) {
        access.index = gpr64(mem.index);
        if (access.index == kNoGpr) return access;
        access.scale = mem.scale;
        access.index_version = registers.version[access.index];
        access.offset += registers.offset[access.index] * mem.scale;
    }
    access.shareable = true;
    return access;
}

/// By how much an instruction changes its first operand, a 64-bit register; false: who knows.
bool adds_constant(const GuestInstruction& instruction, uint8_t number, int64_t& amount) {
    const ZydisDecodedInstruction& decoded = instruction.decoded;
    const ZydisDecodedOperand* operands = instruction.operands;
    if (operands[0].type != ZYDIS_OPERAND_TYPE_REGISTER || gpr64(operands[0].reg.value) != number)
        return false;
    bool immediate = decoded.operand_count_visible == 2 && operands[1].type == ZYDIS_OPERAND_TYPE_IMMEDIATE;
    switch (decoded.mnemonic) {
        case ZYDIS_MNEMONIC_ADD:
            amount = operands[1].imm.value.s;
            return immediate;
        case ZYDIS_MNEMONIC_SUB:
            amount = -operands[1].imm.value.s;
            return immediate;
        case ZYDIS_MNEMONIC_INC:
            amount = 1;
            return true;
        case ZYDIS_MNEMONIC_DEC:
            amount = -1;
            return true;
        case ZYDIS_MNEMONIC_LEA:
            amount = operands[1].mem.disp.value;
            return gpr64(operands[1].mem.base) == number && operands[1].mem.index == ZYDIS_REGISTER_NONE &&
                   decoded.address_width == 64;
        default:
            return false;
    }
}

/// Of those below: what reads or writes control registers, segment registers and their bases by a general register.
bool is_register_move(ZydisMnemonic mnemonic) {
    return mnemonic == ZYDIS_MNEMONIC_MOV || mnemonic == ZYDIS_MNEMONIC_RDFSBASE ||
           mnemonic == ZYDIS_MNEMONIC_RDGSBASE || mnemonic == ZYDIS_MNEMONIC_WRFSBASE ||
           mnemonic == ZYDIS_MNEMONIC_WRGSBASE;
}

/// Of the interpreter's instructions those that are in blocks (build_system.cc).
void note_changes_by_system(Registers& registers, const GuestInstruction& instruction) {
    switch (instruction.decoded.mnemonic) {
        case ZYDIS_MNEMONIC_CLI:
        case ZYDIS_MNEMONIC_STI:
        case ZYDIS_MNEMONIC_CLD:
        case ZYDIS_MNEMONIC_STD:
        case ZYDIS_MNEMONIC_SWAPGS:
            return;
        case ZYDIS_MNEMONIC_PUSHFQ:
            return registers.add(cpu::kRsp, -8);
        default:  // time stamps, strings
            for (uint8_t number : {cpu::kRax, cpu::kRcx, cpu::kRdx, cpu::kRsi, cpu::kRdi})
                registers.replace(number);
    }
}

void note_changes(Registers& registers, const GuestInstruction& instruction) {
    switch (instruction.kind) {
        case Kind::kPush:
        case Kind::kCall:
        case Kind::kCallIndirect:
            return registers.add(cpu::kRsp, -8);
        case Kind::kInterpret:
            if (is_register_move(instruction.decoded.mnemonic)) break;
            return note_changes_by_system(registers, instruction);
        case Kind::kPop:
            registers.add(cpu::kRsp, 8);
            return registers.replace(
                static_cast<uint8_t>(ZydisRegisterGetId(instruction.operands[0].reg.value)));
        case Kind::kLeave:
            registers.replace(cpu::kRsp);
            return registers.replace(cpu::kRbp);
        default:
            break;
    }
    for (unsigned i = 0; i < instruction.decoded.operand_count; ++i) {
        const ZydisDecodedOperand& operand = instruction.operands[i];
        if (operand.type != ZYDIS_OPERAND_TYPE_REGISTER ||
            !(operand.actions & ZYDIS_OPERAND_ACTION_MASK_WRITE))
            continue;
        uint8_t number =
            gpr64(ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, operand.reg.value));
        if (number == kNoGpr) continue;
        int64_t amount = 0;
        if (i == 0 && adds_constant(instruction, number, amount)) {
            registers.add(number, amount);
        } else {
            registers.replace(number);
        }
    }
}

class Planner {
  public:
    explicit Planner(std::vector<AccessPlan>& plans) : plans_(plans) { plans_.clear(); }

    void add(const Access& access, unsigned segment) {
        plans_.emplace_back();
        if (!access.shareable) return;
        size_t i = 0;
        while (i < count_ && !join(groups_[i], access, segment)) ++i;
        if (i == groups_.size()) return;
        if (i == count_) groups_[count_++] = begin_group(access, segment);
        plans_.back() = {.sharing = Sharing::kMember, .group = static_cast<uint8_t>(i)};
    }

    /// Gives slots to the groups of more than one access; what has none is looked up for itself.
    void finish() {
        constexpr uint8_t kNoSlot = kMostGroups;
        std::array<uint8_t, kMostCandidates> slots;
        uint8_t used = 0;
        for (size_t i = 0; i < count_; ++i)
            slots[i] = groups_[i].count > 1 && used < kMostGroups ? used++ : kNoSlot;
        for (AccessPlan& plan : plans_) {
            if (plan.sharing == Sharing::kNone) continue;
            uint8_t slot = slots[plan.group];
            plan = slot == kNoSlot ? AccessPlan{} : AccessPlan{.sharing = Sharing::kMember, .group = slot};
        }
        for (size_t i = 0; i < count_; ++i)
            if (slots[i] != kNoSlot) finish_first(groups_[i]);
    }

  private:
    static constexpr size_t kMostCandidates = 32;

    Group begin_group(const Access& access, unsigned segment) const {
        return {.first = access,
                .first_plan = plans_.size() - 1,
                .segment = segment,
                .write = access.write,
                .low = access.offset,
                .high = access.offset + access.size,
                .count = 1};
    }

    void finish_first(const Group& group) {
        AccessPlan& first = plans_[group.first_plan];
        first.sharing = Sharing::kFirst;
        first.write = group.write;
        first.below = static_cast<int32_t>(group.low - group.first.offset);
        first.span = static_cast<int32_t>(group.high - group.low);
    }

    static bool join(Group& group, const Access& access, unsigned segment) {
        if (!group.first.same_registers(access)) return false;
        bool write = group.write || access.write;
        if (write && !group.write && group.segment != segment) return false;
        int64_t low = std::min(group.low, access.offset);
        int64_t high = std::max(group.high, access.offset + access.size);
        if (high - low > kMostSpan) return false;
        group.low = low;
        group.high = high;
        group.write = write;
        ++group.count;
        return true;
    }

    std::vector<AccessPlan>& plans_;
    std::array<Group, kMostCandidates> groups_;
    size_t count_ = 0;
};

/// The values of a block's base registers that have been looked at.
class Looks {
  public:
    Sharing add(const Access& access, const Registers& registers) {
        if (!access.shareable) return add_fixed(access);
        // With a large displacement the register is more likely an index into something that doesn't move.
        constexpr int64_t kLargeDisplacement = 1 << 16;
        int64_t now = registers.offset[access.base];
        int64_t displacement = access.offset - now;
        if (access.index != kNoGpr || displacement >= kLargeDisplacement ||
            displacement < -kLargeDisplacement)
            return Sharing::kIndexed;
        Look& look = looks_[access.base];
        if (look.done && look.version == access.base_version && near(access, look.offset))
            return Sharing::kMember;
        look = {.done = true, .version = access.base_version, .offset = now};
        return Sharing::kFirst;
    }

  private:
    Sharing add_fixed(const Access& access) {
        if (access.fixed_base == kNoGpr) return Sharing::kNone;
        Look& look = looks_[access.fixed_base];
        if (look.done && near(access, look.offset)) return Sharing::kMember;
        // What RIP leads to is looked at itself, of a segment its start.
        int64_t now = access.fixed_base == kRipBase ? access.offset : 0;
        if (!near(access, now)) return Sharing::kNone;
        look = {.done = true, .offset = now};
        return Sharing::kFirst;
    }

    struct Look {
        bool done = false;
        uint32_t version = 0;
        int64_t offset = 0;  ///< of the value that was looked at
    };
    static bool near(const Access& access, int64_t offset) {
        constexpr int64_t kNear = HostWindow::kReach;
        return access.offset - offset < kNear && offset - access.offset < kNear;
    }

    std::array<Look, kBases> looks_;
};

}  // namespace

void plan_looks(std::span<const GuestInstruction> block, std::vector<AccessPlan>& plans) {
    Registers registers;
    Looks looks;
    plans.clear();
    for (const GuestInstruction& instruction : block) {
        for (const EncodedAccess& access : accesses_of(instruction))
            plans.push_back({.sharing = looks.add(located(registers, instruction, access), registers)});
        note_changes(registers, instruction);
    }
}

void plan_lookups(std::span<const GuestInstruction> block, std::vector<AccessPlan>& plans) {
    Registers registers;
    Planner planner(plans);
    unsigned segment = 0;
    for (const GuestInstruction& instruction : block) {
        for (const EncodedAccess& access : accesses_of(instruction))
            planner.add(located(registers, instruction, access), segment);
        note_changes(registers, instruction);
        if (instruction.kind == Kind::kConditional) ++segment;
    }
    planner.finish();
}

}  // namespace lockstep::translate
