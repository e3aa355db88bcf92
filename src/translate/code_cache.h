// SPDX-License-Identifier: Apache-2.0
// The code cache: host memory that holds blocks, and the tables that translated code's exits refer to.
//
//     [ EngineState | trampolines | scratch for transient blocks | translated | copied ]
//                                                                 [ hot parts ... | cold parts ... ] each
//
// A block has two parts: what runs nearly always, and the stubs of its rare cases. They lie apart, so that a
// line of the host's instruction cache holds no code that isn't executed. EngineState lies in the same
// mapping so that code reaches it by RIP-relative addresses.
//
// Blocks are only ever added, each to a SHELF; when a shelf is full, all that is on it goes at once. Copies
// for other addresses (block_copy.h) are many, cheap to make anew, and of no use once their process has
// ended, so they have a shelf of their own: when it is cleared, what was translated stays.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "base/strong.h"
#include "memory/ahead.h"
#include "memory/large_array.h"
#include "translate/engine_report.h"
#include "translate/mode.h"

namespace lockstep::translate {

struct Block;

/// Why translated code went back to the dispatcher.
enum class ExitKind : uint8_t {
    kMemory,         ///< an access whose page isn't in the shadow map, or that crosses pages; address in r14
    kLink,           ///< a direct branch that isn't chained
    kIndirect,       ///< an indirect branch that the jump cache doesn't know; target in r14
    kRefusedBranch,  ///< a direct branch whose target isn't canonical
    kDirect,         ///< a direct branch through a slot of DirectTargets that is empty; target in r14
    kBudget,         ///< the block is longer than the budget
    kInterpret,      ///< an instruction for cpu::interpret
    kInterpretFpu,   ///< the same, with x87 state
    kInterpretString,  ///< the same, of which a block does the plain cases once the maps know its pages
    kUndefined,        ///< #UD
    kTooLong,          ///< #GP
    kFpuUnavailable,   ///< #NM
    kAvxUnavailable,   ///< #UD or #NM
    kHostFault,        ///< the host's CPU raised a fault in a guest instruction; see EngineState::fault
};

/// No exit record: the end of a list of them.
inline constexpr uint32_t kNoRecord = ~0u;

struct ExitRecord {
    ExitKind kind{};
    uint8_t size = 0;                 ///< kMemory: bytes accessed
    bool write = false;               ///< kMemory
    bool chainable = false;           ///< kLink: source and target share their page
    bool plain = false;               ///< kLink: to a block that shares no look-ups
    bool flags_in_slot = false;       ///< kLink: the guest's flags are in their slot
    bool requires_alignment = false;  ///< kMemory: a misaligned address raises #GP before all else
    bool stack = false;               ///< kMemory: non-canonical addresses raise #SS
    uint16_t credit = 0;              ///< instructions of the block that were counted but not executed
    uint32_t popped = 0;              ///< of an indirect branch: what it has added to RSP
    uint64_t pc = 0;                  ///< guest address to continue at
    uint8_t* host = nullptr;          ///< kMemory: where to resume; kLink: the displacement to patch
    uint8_t* stub = nullptr;          ///< kLink: the displacement's target while unchained
    Block* block = nullptr;
    uint32_t next_incoming = kNoRecord;  ///< kLink: the next one that is chained to the same block
};

/// A constant in a block's host code that is another one in a copy for another guest address (block_copy.h).
enum class RelocationKind : uint8_t {
    kGuestAddress,    ///< 64 bits
    kNegatedAddress,  ///< the same, negated
    kDirectTarget,    ///< 32 bits: a slot of DirectTargets
    kNear,            ///< 32 bits relative to the host code, to EngineState or a trampoline
    kAcross,          ///< 32 bits relative to the host code, to the block's other part
    kRecord,          ///< 32 bits: the index of an exit record
};

/// Where a block's code, its exit records and the block itself are kept.
enum class Shelf : uint8_t {
    kTranslated,
    kCopied,
    kTransient,  ///< until the next one
};
inline constexpr std::array kLastingShelves{Shelf::kTranslated, Shelf::kCopied};

/// The two parts of a block's host code.
enum class Part : uint8_t { kHot, kCold };
inline constexpr size_t kParts = 2;

struct Relocation {
    uint16_t offset;  ///< from the part's start
    RelocationKind kind;
    Part part;
};

/// Where a part of a block lies.
struct HostCode {
    uint8_t* start = nullptr;
    uint8_t* end = nullptr;
    size_t size() const { return static_cast<size_t>(end - start); }
    bool contains(const uint8_t* host) const { return host >= start && host < end; }
};

/// Where a guest instruction starts in host code: what makes faults precise.
struct InstructionMark {
    uint32_t host_offset;   ///< from the block's entry
    uint16_t guest_offset;  ///< from the block's pc
    bool flags_in_slot;     ///< while it executes the guest's flags are in EngineState::flags_slot
};

/// A translation block. What a look-up reads comes first, in one cache line.
struct alignas(64) Block {
    uint64_t pc = 0;
    GuestPhys physical;
    Block* next_in_bucket = nullptr;  ///< in BlockTable
    Block* next_variant = nullptr;    ///< the same
    /// Guest-physical page of the tail of an instruction that crosses pages; 0: none
    uint64_t second_page = 0;
    Mode mode{};
    bool shares_lookups = false;  ///< some
    bool alive = true;
    bool relocatable = false;             ///< copy_block() may be used
    bool copied = false;                  ///< on that shelf; its marks and relocations are the original's
    bool interpret_only = false;          ///< the first instruction is the interpreter's: nothing to enter
    ExitKind first_exit{};                ///< with interpret_only: which of the interpreter's kinds
    uint8_t* entry = nullptr;             ///< for flags in place; in the hot part
    uint16_t count = 0;                   ///< guest instructions counted at the head
    uint32_t first_incoming = kNoRecord;  ///< exit records of kind kLink that are chained to this block
    uint8_t* slot_entry = nullptr;        ///< for flags in EngineState::flags_slot; perhaps the same
    uint8_t* checked_entry = nullptr;   ///< for indirect branches: compares r14 with pc first; null: none yet
    std::array<HostCode, kParts> code;  ///< by Part
    uint32_t first_mark = 0;
    uint32_t first_record = 0;
    uint32_t record_count = 0;
    uint32_t first_relocation = 0;
    uint32_t relocation_count = 0;
    std::array<Block*, 2> next_in_page{};  ///< of the first page, of the second

    Shelf shelf() const { return copied ? Shelf::kCopied : Shelf::kTranslated; }  ///< not of a transient one
    HostCode& part(Part which) { return code[static_cast<size_t>(which)]; }
    const HostCode& part(Part which) const { return code[static_cast<size_t>(which)]; }
};

/// What a stop request adds to the counter.
inline constexpr uint64_t kStopBias = uint64_t{1} << 46;

/// What trampolines and C++ exchange.
struct alignas(64) EngineState {
    uint64_t counter = 0;       ///< r11: -(instructions left) - 1
    uint64_t read_base = 0;     ///< r10: of the read map, or of the window's table
    uint64_t exit_record = 0;   ///< r12 at the exit: which ExitRecord
    uint64_t exit_address = 0;  ///< r14 at the exit
    uint64_t flags = 0;         ///< AH and AL of LAHF and SETO
    uint64_t host_stack = 0;
    uint64_t target = 0;            ///< where enter() jumps to
    uint64_t entry_address = 0;     ///< r14 on entry: the guest's address, for a checked entry
    uint64_t entry_r12 = 0;         ///< on entry
    uint64_t entry_r13 = 0;         ///< the same
    uint64_t scratch = 0;           ///< across two memory accesses of one instruction
    uint64_t flags_slot = 0;        ///< the guest's flags while code of ours uses the host's; form of `flags`
    uint64_t user_jumps = 0;        ///< the jump cache of user code in the current space
    uint64_t user_targets = 0;      ///< the table of DirectTargets in the current space
    uint64_t target_journal = 0;    ///< DirectTargets::Journal of the same
    uint64_t target_addresses = 0;  ///< DirectTargets::addresses()
    uint64_t missed_slot = 0;       ///< in the trampolines
    uint64_t user_pages = 0;        ///< JumpCache::pages() of the same
    uint64_t kernel_jumps = 0;      ///< these for kernel code
    uint64_t kernel_targets = 0;
    uint64_t kernel_journal = 0;
    uint64_t kernel_pages = 0;
    uint64_t jump_index = 0;       ///< JumpIndex::table()
    uint64_t saved_rax = 0;        ///< the guest's RAX in the trampolines
    uint64_t tsc_base = 0;         ///< the time stamp counter's TimeLine
    uint64_t tsc_rate = 0;         ///< the same
    uint64_t tsc_distance = 0;     ///< an icount is this much plus the counter behind the line's start
    uint64_t interrupt_waits = 0;  ///< nonzero: an interrupt would be taken if RFLAGS.IF were set
    /// What SYSCALL and SYSRET do in translated code (build_transfer.cc), as of the last entry.
    struct Transfers {
        uint64_t into_kernel = 0;  ///< whether SYSCALL may go on in kernel code; 0: the interpreter does it
        uint64_t into_user = 0;    ///< the trampoline by which SYSRET goes on; 0: the same
        uint64_t kernel_base = 0, user_base = 0;  ///< r10 there
        /// The first eight bytes of CS and SS: all but the base, which is 0.
        uint64_t kernel_code = 0, kernel_stack = 0, user_code = 0, user_stack = 0;
        uint64_t kept_flags = 0;  ///< of RFLAGS by SYSCALL
        uint64_t kept_slot = 0;   ///< the same in the form of `flags`
    } transfers;
    struct Fault {
        int trap = 0;  ///< the exception's vector on the host
        uint64_t host_pc = 0;
        uint64_t address = 0;       ///< of the faulting access, where the host tells
        uint64_t r12 = 0, r13 = 0;  ///< temporaries, which resume() needs once more
    } fault;
    struct Parked {
        uint64_t rsp = 0;  ///< the guest's
        uint64_t pc = 0;   ///< host code to go on at
    } parked;
    alignas(64) uint8_t bounce[256] = {};  ///< stands for guest memory in slow accesses
};

class CodeCache {
  public:
    explicit CodeCache(uint64_t bytes);
    ~CodeCache();
    CodeCache(const CodeCache&) = delete;
    CodeCache& operator=(const CodeCache&) = delete;

    EngineState& state() { return *reinterpret_cast<EngineState*>(base_); }
    uint8_t* trampolines() { return base_ + kTrampolineOffset; }
    uint8_t* trampolines_end() { return base_ + kScratchOffset; }

    uint64_t size() const { return size_; }
    bool contains(const void* host) const { return host >= base_ && host < base_ + size_; }
    bool in_blocks(const void* host) const { return host >= base_ + kScratchOffset && host < base_ + size_; }

    /// Where the next block's part goes: from the first free byte to the end of what there is for such parts.
    HostCode room(Shelf shelf, Part part) const;
    /// What blocks of a lasting shelf occupy: from the first byte that there is for such parts to the first
    /// free one.
    HostCode used(Shelf shelf, Part part) const;
    CodeUse use_of(Part part) const;
    /// The next block of its shelf begins behind these two.
    void use(const Block& block);
    /// The next cold part of a lasting shelf begins here.
    void use_cold_until(Shelf shelf, uint8_t* end);
    /// Whether another block of the largest size fits.
    bool has_room(Shelf shelf) const;

    Block& new_block(Shelf shelf);
    /// Index for an exit stub; transient ones are forgotten by start_transient().
    uint32_t add_record(const ExitRecord& record, Shelf shelf);
    ExitRecord& record(uint32_t index) {
        if (index & kTransientBit) return transient_records_[index & ~kTransientBit];
        return index & kCopiedBit ? copied_.records[index & ~kCopiedBit] : translated_.records[index];
    }
    static bool is_of_copy(uint32_t record) { return record & kCopiedBit; }
    /// The index that add_record() gives next on a lasting shelf.
    uint32_t next_record(Shelf shelf) const;
    /// Relocations are added while their block is built, in one run.
    uint32_t next_relocation() const { return static_cast<uint32_t>(relocations_.size()); }
    void add_relocation(const Relocation& relocation) { relocations_.add(relocation); }
    std::span<const Relocation> relocations(const Block& block) {
        return {&relocations_[block.first_relocation], block.relocation_count};
    }
    uint32_t add_mark(const InstructionMark& mark, bool transient);
    InstructionMark& mark(uint32_t index, bool transient) {
        return transient ? transient_marks_[index] : marks_[index];
    }
    const InstructionMark* marks(const Block& block);
    void start_transient();

    /// The live or dead block whose hot part holds `host`, or null.
    Block* block_at(const uint8_t* host);
    memory::LargeList<Block>& blocks(Shelf shelf) { return stock(shelf).blocks; }
    /// Takes a piece of the memory of the next blocks from the host; false: there is enough for a while.
    bool take_memory_ahead();
    /// Gives the memory that no block needs back to the host.
    void give_memory_back();
    /// Throws away what is on a lasting shelf. Copies refer to what was translated and must go with it.
    void clear(Shelf shelf);

    static constexpr uint64_t kLargestPart = 64 << 10;

  private:
    /// A lasting shelf.
    struct Stock {
        explicit Stock(uint64_t bytes) : blocks(bytes / kBytesOfABlock), records(bytes / kBytesOfARecord) {}
        std::array<HostCode, kParts> whole;        ///< by Part: what there is for such parts
        std::array<uint8_t*, kParts> free_from{};  ///< the same: the first free byte
        std::array<memory::Ahead, kParts> ahead;   ///< the same
        memory::LargeList<Block> blocks;
        memory::LargeList<ExitRecord> records;
    };
    Stock& stock(Shelf shelf) { return shelf == Shelf::kCopied ? copied_ : translated_; }
    const Stock& stock(Shelf shelf) const { return shelf == Shelf::kCopied ? copied_ : translated_; }

    static constexpr uint32_t kTransientBit = 1u << 31, kCopiedBit = 1u << 30;  // of a record's index
    static constexpr uint64_t kTrampolineOffset = 4096;
    static constexpr uint64_t kScratchOffset = 8192;
    static constexpr uint64_t kBlocksOffset = kScratchOffset + kParts * kLargestPart;
    static constexpr size_t kMostOfABlock = 4096;  ///< records, marks or relocations
    // What the tables are made for, in bytes of host code: the fewest that there are for each in any program.
    static constexpr uint64_t kBytesOfABlock = 128, kBytesOfARecord = 24, kBytesOfAMark = 8,
                              kBytesOfARelocation = 8;

    void lay_out(Stock& stock, uint8_t* start, uint8_t* end);

    void* mapping_;
    uint8_t* base_;
    uint64_t size_;
    Stock translated_;
    Stock copied_;
    memory::LargeList<InstructionMark> marks_;
    memory::LargeList<Relocation> relocations_;
    Block transient_block_;
    std::vector<ExitRecord> transient_records_;
    std::vector<InstructionMark> transient_marks_;
};

}  // namespace lockstep::translate
