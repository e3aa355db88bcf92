// SPDX-License-Identifier: Apache-2.0
// A vCPU in long mode with memory, page tables, GDT, IDT and TSS, for tests that run single instructions.
//
//     0x0000 .. 0xfffff     identity, supervisor: tables below, kernel code at kCode, kernel stack below
//     kStack kUserCode, kUserStack user pages
#pragma once

#include <gtest/gtest.h>

#include <initializer_list>
#include <map>
#include <memory>
#include <vector>

#include "cpu/cpu.h"
#include "cpu/float_state.h"
#include "x86/control.h"
#include "x86/descriptor.h"
#include "x86/paging.h"

namespace lockstep::cpu {

/// Records what the vCPU asks of the machine.
class FakePlatform : public Platform {
  public:
    struct Access {
        uint64_t at;
        unsigned size;
        uint64_t value;
        bool operator==(const Access&) const = default;
    };
    std::vector<Access> mmio_writes, port_writes;
    uint32_t port_answer = 0x11223344;
    std::map<uint32_t, uint64_t> msrs{{0x10, 5}, {0x1b, 0xfee00900}};
    uint64_t priority = 0;

    uint64_t read_mmio(GuestPhys at, unsigned size) override { return at.value() + size; }
    void write_mmio(GuestPhys at, unsigned size, uint64_t value) override {
        mmio_writes.push_back({at.value(), size, value});
    }
    uint32_t read_port(uint16_t, unsigned size) override {
        return port_answer & static_cast<uint32_t>((1ull << size * 8) - 1);
    }
    void write_port(uint16_t port, unsigned size, uint32_t value) override {
        port_writes.push_back({port, size, value});
    }
    bool interrupt_pending() const override { return false; }
    uint8_t acknowledge_interrupt() override { return 0; }
    std::optional<uint64_t> read_msr(uint32_t number) override {
        auto found = msrs.find(number);
        return found == msrs.end() ? std::nullopt : std::optional(found->second);
    }
    bool write_msr(uint32_t number, uint64_t value) override {
        if (!msrs.contains(number)) return false;
        msrs[number] = value;
        return true;
    }
    uint64_t task_priority() const override { return priority; }
    void set_task_priority(uint64_t value) override { priority = value; }
    TimeLine tsc_line() const override { return {.base = 1000, .start = {}}; }
    Icount next_event() const override { return kNeverIcount; }
    bool leave_requested() const override { return false; }
};

inline constexpr uint64_t kGdt = 0x5000, kIdt = 0x6000, kTss = 0x7000, kCode = 0x10000, kStack = 0x20000,
                          kIstStack = 0x28000, kRsp0 = 0x30000, kHandlers = 0x40000;
inline constexpr uint64_t kUserCode = 0x400000, kUserStack = 0x500000, kUserData = 0x600000;
inline constexpr uint64_t kKernelCs = 0x10, kKernelSs = 0x18, kUser32Cs = 0x23, kUserSs = 0x2b,
                          kUserCs = 0x33, kTssSelector = 0x40, kLdtSelector = 0x50, kAbsentData = 0x60,
                          kReadOnlyData = 0x68;

class CpuTest : public ::testing::Test {
  protected:
    explicit CpuTest(x86::CpuModel model = x86::CpuModel::kV2)
        : memory(GuestMemory::create(16 << 20).take()), cpu(*memory, platform, model), state(cpu.state) {
        state.cr3 = next_table_;
        next_table_ += kPageSize;
        state.cr0 = x86::kCr0Pe | x86::kCr0Pg | x86::kCr0Wp | x86::kCr0Et | x86::kCr0Ne;
        state.cr4 = x86::kCr4Pae | x86::kCr4Pge | x86::kCr4Osfxsr | x86::kCr4Fsgsbase;
        state.efer = x86::kEferSce | x86::kEferLme | x86::kEferLma | x86::kEferNxe;
        for (uint64_t at = 0; at < 0x100000; at += kPageSize) map(at, at, kKernelPage);
        map(kUserCode, 0x200000, kUserPage);
        map(kUserStack - kPageSize, 0x201000, kUserPage);
        map(kUserData, 0x202000, kUserPage);
        make_tables();
        enter_kernel();
        reset_fx(state.fx);
    }

    using GuestMemory = memory::GuestMemory;
    static constexpr uint64_t kKernelPage = x86::kPtePresent | x86::kPteWritable;
    static constexpr uint64_t kUserPage = kKernelPage | x86::kPteUser;

    // Page tables

    /// The address of the entry of `level` for `virt`; upper levels are made with all rights.
    uint64_t entry_at(uint64_t virt, unsigned level) {
        uint64_t table = state.cr3 & x86::kPteAddress;
        for (unsigned at = x86::kTopLevel;; --at) {
            uint64_t entry = table + x86::level_index(virt, at) * 8;
            if (at == level) return entry;
            if (!(get64(entry) & x86::kPtePresent)) {
                put64(entry, next_table_ | kUserPage);
                next_table_ += kPageSize;
            }
            table = get64(entry) & x86::kPteAddress;
        }
    }
    void map(uint64_t virt, uint64_t phys, uint64_t bits, unsigned level = 0) {
        put64(entry_at(virt, level), phys | bits | (level ? x86::kPteLarge : 0));
    }
    uint64_t entry(uint64_t virt, unsigned level = 0) { return get64(entry_at(virt, level)); }
    /// Where a byte of a small page lies, whatever the page allows.
    GuestPhys physical(uint64_t virt) {
        uint64_t page = entry(virt);
        EXPECT_TRUE(page & x86::kPtePresent) << "nothing is mapped at " << std::hex << virt;
        return GuestPhys((page & x86::kPteAddress) + (virt & kPageMask));
    }

    // Physical memory
    uint64_t get64(uint64_t phys) const { return memory->read_number<uint64_t>(GuestPhys(phys)); }
    void put64(uint64_t phys, uint64_t value) { memory->write_number(GuestPhys(phys), value); }
    void put(uint64_t phys, const Bytes& bytes) { ASSERT_TRUE(memory->write(GuestPhys(phys), bytes)); }
    Bytes get(uint64_t phys, size_t size) {
        Bytes bytes(size);
        EXPECT_TRUE(memory->read(GuestPhys(phys), bytes));
        return bytes;
    }

    // The processor

    void set_descriptor(uint16_t selector, x86::Descriptor descriptor) {
        put64(kGdt + (selector & ~7), descriptor.low);
    }
    void set_gate(unsigned vector, x86::Gate gate) {
        put64(kIdt + vector * 16, gate.low);
        put64(kIdt + vector * 16 + 8, gate.high);
    }
    static uint64_t handler(unsigned vector) { return kHandlers + vector * 16; }

    void enter_kernel() {
        state.segments[kCs] = {kKernelCs, x86::kFlatCode64, 0xffffffff, 0};
        state.segments[kSs] = {kKernelSs, x86::kFlatData, 0xffffffff, 0};
        state.rip = kCode;
        state.gpr[kRsp] = kStack;
    }
    void enter_user() {
        state.segments[kCs] = {kUserCs, x86::with_dpl(x86::kFlatCode64, 3), 0xffffffff, 0};
        state.segments[kSs] = {kUserSs, x86::with_dpl(x86::kFlatData, 3), 0xffffffff, 0};
        state.rip = kUserCode;
        state.gpr[kRsp] = kUserStack;
    }

    /// Puts code where rip points, through the page tables, and executes one instruction.
    StepResult run(const Bytes& code) {
        put(physical(state.rip).value(), code);
        return interpret(cpu, exception);
    }
    /// The same, and it must succeed, and count one instruction.
    void run_done(const Bytes& code) {
        Icount before = state.icount;
        ASSERT_EQ(run(code), StepResult::kDone) << "vector " << unsigned{exception.vector};
        EXPECT_EQ(state.icount, before + 1);
    }
    /// The same, and it must fault and leave rip and icount.
    void run_fault(const Bytes& code, uint8_t vector, uint32_t error_code = 0) {
        Icount before = state.icount;
        uint64_t rip = state.rip;
        ASSERT_EQ(run(code), StepResult::kFault);
        EXPECT_EQ(exception.vector, vector);
        EXPECT_EQ(exception.error_code, error_code);
        EXPECT_EQ(state.icount, before);
        EXPECT_EQ(state.rip, rip);
    }

    std::unique_ptr<GuestMemory> memory;
    FakePlatform platform;
    Cpu cpu;
    CpuState& state;
    Exception exception;

  private:
    void make_tables() {
        using namespace x86;
        set_descriptor(kKernelCs, make_descriptor(0, ~0u, kFlatCode64));
        set_descriptor(kKernelSs, make_descriptor(0, ~0u, kFlatData));
        set_descriptor(kUser32Cs, make_descriptor(0, ~0u, with_dpl(kFlatCode32, 3)));
        set_descriptor(kUserSs, make_descriptor(0, ~0u, with_dpl(kFlatData, 3)));
        set_descriptor(kUserCs, make_descriptor(0, ~0u, with_dpl(kFlatCode64, 3)));
        set_descriptor(kTssSelector, make_descriptor(kTss, 0x67, 0x89));
        set_descriptor(kLdtSelector, make_descriptor(0x8000, 0x17, 0x82));
        set_descriptor(kAbsentData, make_descriptor(0, ~0u, kFlatData & ~kAttributePresent));
        set_descriptor(kReadOnlyData, make_descriptor(0, ~0u, kFlatData & ~kAttributeWritable));
        state.gdtr = {kGdt, 0x7f};
        state.idtr = {kIdt, 256 * 16 - 1};
        state.tr = {kTssSelector, 0x8b, 0x67, kTss};
        put64(kTss + kTssRsp0, kRsp0);
        put64(kTss + kTssIst1, kIstStack);
        memory->write_number<uint16_t>(GuestPhys(kTss + kTssIoMap), 0x68);
        for (unsigned vector = 0; vector < 256; ++vector)
            set_gate(vector, make_gate(handler(vector), kKernelCs, 0, kTypeInterruptGate, 0));
    }

    uint64_t next_table_ = 0x800000;
};

}  // namespace lockstep::cpu
