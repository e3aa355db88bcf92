// SPDX-License-Identifier: Apache-2.0
#include "machine/machine.h"

#include <algorithm>

#include "base/check.h"
#include "base/hash.h"
#include "cpu/cpu.h"
#include "cpu/save.h"
#include "machine/board.h"
#include "machine/boot.h"
#include "machine/probe.h"
#include "translate/vcpu.h"

namespace lockstep::machine {

namespace {

constexpr uint64_t kStateMagic = 0x3174'5350'4b43'4f4c;
constexpr uint32_t kStateVersion = 5;  // of the frame; each section has one of its own
constexpr uint32_t kProcessorVersion = 2;

// Attributes of a segment register (cpu_state.h): present 64-bit code; present flat data.
constexpr uint16_t kCode64 = 0xa09b, kFlatData = 0xc093;
constexpr uint64_t kProtection = 1 << 0, kNumericError = 1 << 5, kExtensionType = 1 << 4,
                   kPaging = 1ull << 31;
constexpr uint64_t kPhysicalExtension = 1 << 5;
constexpr uint64_t kLongModeEnable = 1 << 8, kLongModeActive = 1 << 10;

class MachineImpl : public Machine, public Probe, public bus::IcountSource {
  public:
    MachineImpl(const MachineConfig& config, std::unique_ptr<memory::GuestMemory> memory,
                const translate::EngineOptions& options, bus::OutputSink& sink)
        : config_(config),
          memory_(std::move(memory)),
          board_(config_, *memory_, *this, sink),
          cpu_(*memory_, board_, config_.cpu) {
        vcpu_ = std::make_unique<translate::Vcpu>(cpu_, options);
        counter_ = vcpu_.get();
    }

    ~MachineImpl() override { vcpu_.reset(); }  // it refers to the processor

    machine::Stop run(Icount until) override;
    void request_stop(translate::StopUrgency urgency) override { vcpu_->request_stop(urgency); }
    void set_glance(uint64_t instructions) override { vcpu_->set_glance(instructions); }

    // During construction of the board there is no processor yet: nothing has been retired.
    Icount icount() const override { return counter_ ? counter_->icount() : Icount(0); }
    size_t input_room(uint16_t device) const override { return board_.input_room(device); }
    uint64_t guest_time_ns() const override { return board_.timers().now_ns(); }
    uint64_t next_timer_ns() const override { return board_.timers().next_deadline_ns(); }

    void deliver(const record::Entry& entry) override {
        CHECK(entry.icount == icount(), "an entry for icount {} at icount {}", entry.icount.value(),
              icount().value());
        if (entry.kind == record::EntryKind::kCut)
            cpu_.mmu.clear();
        else
            board_.deliver(entry);
    }

    void reset() override {
        Result<void> booted = boot();
        CHECK(booted.ok(), "the kernel was loaded before: {}", booted.error().message());
    }
    Result<void> boot();
    void save_state(ByteWriter& out) override;
    Result<void> load_state(ByteReader& in) override;
    memory::GuestMemory& memory() override { return *memory_; }
    StateHash hash() override { return {hash_registers(), memory_->hash(), hash_devices()}; }
    StateHash hash_part(uint64_t start, uint64_t size) override;
    std::vector<bus::Output> unanswered() const override { return board_.unanswered(); }
    std::string describe() const override;
    translate::EngineReport engine_report() const override { return vcpu_->report(); }
    std::vector<translate::Departure> departures() const override { return vcpu_->departures(); }
    void set_optimisations(translate::Optimisations wanted) override { vcpu_->set_optimisations(wanted); }
    bool take_memory_ahead() override { return vcpu_->take_memory_ahead(); }
    void give_memory_back() override { vcpu_->give_memory_back(); }
    void after_fork() override { vcpu_->after_fork(); }
    Probe* probe() override { return this; }
    const cpu::CpuState& processor() const override { return cpu_.state; }
    size_t read_linear(uint64_t at, std::span<uint8_t> out) const override;
    std::optional<GuestPhys> physical(uint64_t at) const override { return cpu_.mmu.peek(GuestVirt(at)); }
    void set_stops(const std::vector<Probe::Stop>& stops) override { cpu_.breakpoints.set_stops(stops); }
    std::optional<Probe::Stop> take_stop() override { return cpu_.breakpoints.take_stop(); }
    void step_over() override { cpu_.breakpoints.let_go(icount()); }
    void set_code_visitor(translate::CodeVisitor visitor) override {
        vcpu_->set_code_visitor(std::move(visitor));
    }

  private:
    uint64_t hash_registers() const { return cpu::hash(cpu_.state); }
    uint64_t hash_devices();
    void enter(const BootEntry& entry);
    void clear_derived();

    const translate::Vcpu* counter_ = nullptr;  // vcpu_, once it exists
    const MachineConfig config_;
    std::unique_ptr<memory::GuestMemory> memory_;
    std::unique_ptr<translate::Vcpu> vcpu_;  // before the board, which asks for the icount while it is made
    Board board_;
    cpu::Cpu cpu_;
};

// Event points must be exact: an icount at which run() returns names one state, whatever made it return. The
// vCPU counts the delivery of an exception or interrupt like an instruction, and whatever timer is due here
// has fired.
machine::Stop MachineImpl::run(Icount until) {
    for (;;) {
        board_.timers().run_due();
        if (board_.leave_requested()) {
            board_.uart().flush();
            return board_.power().request() == devices::PowerRequest::kPowerOff ? machine::Stop::kPowerOff
                                                                                : machine::Stop::kReset;
        }
        if (icount() >= until) return machine::Stop::kReached;
        translate::VcpuExit exit = vcpu_->run(until);
        if (exit == translate::VcpuExit::kTripleFault) board_.power().request_reset();
        bool timer_due = board_.timers().next_event() <= icount();
        if (exit == translate::VcpuExit::kHalted && !timer_due) return machine::Stop::kHalted;
        if (exit == translate::VcpuExit::kRequested || exit == translate::VcpuExit::kStop) {
            board_.timers().run_due();
            return exit == translate::VcpuExit::kStop ? machine::Stop::kDebugger : machine::Stop::kRequested;
        }
    }
}

Result<void> MachineImpl::boot() {
    memory_->clear();
    board_.reset();
    if (!config_.firmware.empty()) {
        cpu::reset(cpu_);
        clear_derived();
        return {};
    }
    BootEntry entry = TRY(load_linux(*memory_, {config_.kernel, config_.initrd, config_.command_line}));
    enter(entry);
    return {};
}

// The state in which the 64-bit boot protocol enters the kernel: long mode, flat segments, interrupts off.
void MachineImpl::enter(const BootEntry& entry) {
    Icount now = icount();
    cpu::reset(cpu_);
    cpu::CpuState& state = cpu_.state;
    state.icount = now;
    state.rip = entry.start.value();
    state.gpr = {};
    state.gpr[cpu::kRsi] = entry.parameters.value();
    state.rflags = 2;
    state.cr0 = kProtection | kExtensionType | kNumericError | kPaging;
    state.cr3 = entry.page_table.value();
    state.cr4 = kPhysicalExtension;
    state.efer = kLongModeEnable | kLongModeActive;
    for (cpu::SegmentRegister& segment : state.segments) segment = {entry.data_selector, kFlatData, ~0u, 0};
    state.segments[cpu::kCs] = {entry.code_selector, kCode64, ~0u, 0};
    state.gdtr = {entry.descriptors.value(), static_cast<uint64_t>(entry.descriptors_size - 1)};
    state.idtr = {};
    clear_derived();
}

void MachineImpl::clear_derived() {
    cpu_.mmu.clear();
    vcpu_->state_replaced();
}

// The TLB isn't saved, and what it holds decides when the guest notices a changed page table. Blocks depend
// on memory alone and stay.
void MachineImpl::save_state(ByteWriter& out) {
    cpu_.mmu.clear();
    out.fixed(kStateMagic);
    out.varint(kStateVersion);
    out.varint(memory_->ram_size());
    SectionWriter sections(out);
    sections.section("processor", kProcessorVersion, [this](ByteWriter& to) { cpu::save(cpu_.state, to); });
    board_.save(sections);
    sections.end();
}

Result<void> MachineImpl::load_state(ByteReader& in) {
    if (in.fixed<uint64_t>() != kStateMagic) return error("this is not a saved machine");
    if (uint64_t version = in.varint(); version != kStateVersion)
        return error("the saved machine has version {}, this program reads version {}", version,
                     kStateVersion);
    if (uint64_t size = in.varint(); size != memory_->ram_size())
        return error("the saved machine has {} MiB of memory, this one {} MiB", size >> 20,
                     memory_->ram_size() >> 20);
    SectionReader sections = TRY(SectionReader::read(in));
    TRY(sections.section("processor", kProcessorVersion,
                         [this](ByteReader& from) { return cpu::load(cpu_.state, from); }));
    // The devices arm their timers by the restored icount.
    clear_derived();
    return board_.load(sections);
}

size_t MachineImpl::read_linear(uint64_t at, std::span<uint8_t> out) const {
    size_t done = 0;
    while (done < out.size()) {
        uint64_t linear = at + done;
        std::optional<GuestPhys> place = physical(linear);
        size_t piece = std::min<size_t>(out.size() - done, kPageSize - (linear & kPageMask));
        if (!place || !memory_->read(*place, out.subspan(done, piece))) break;
        done += piece;
    }
    return done;
}

uint64_t MachineImpl::hash_devices() {
    Bytes state;
    ByteWriter out(state);
    SectionWriter sections(out);
    board_.save(sections);
    return hash64(state);
}

// Byte n of the RAM is n further on in guest-physical space once it is past the hole below 4 GiB.
StateHash MachineImpl::hash_part(uint64_t start, uint64_t size) {
    uint64_t end = std::min(start + size, memory_->ram_size());
    uint64_t memory_hash = 0;
    for (uint64_t at = start & ~kPageMask; at < end; at += kPageSize) {
        uint64_t physical =
            at < memory_->low_ram_size() ? at : at - memory_->low_ram_size() + memory::kHighRamStart;
        memory_hash ^= hash64({memory_->host(GuestPhys(physical)), kPageSize}, at + 1);
    }
    return {hash_registers(), memory_hash, hash_devices()};
}

std::string MachineImpl::describe() const {
    const cpu::CpuState& s = cpu_.state;
    std::string text = fmt::format("icount {} rip {:016x} rflags {:x} halted {} cpl {}\n", icount().value(),
                                   s.rip, s.rflags, s.halted, s.cpl());
    static constexpr const char* kNames[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                             "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
    for (unsigned i = 0; i < s.gpr.size(); ++i)
        text += fmt::format("{:3} {:016x}{}", kNames[i], s.gpr[i], i % 4 == 3 ? "\n" : "  ");
    text += fmt::format("cr0 {:x} cr2 {:x} cr3 {:x} cr4 {:x} xcr0 {:x} efer {:x}\n", s.cr0, s.cr2, s.cr3,
                        s.cr4, s.xcr0, s.efer);
    text +=
        fmt::format("cs {:x} ss {:x} fs {:x} gs {:x} kernel gs {:x} gdt {:x} idt {:x} tr {:x}\n",
                    s.segments[cpu::kCs].selector, s.segments[cpu::kSs].selector, s.segments[cpu::kFs].base,
                    s.segments[cpu::kGs].base, s.kernel_gs_base, s.gdtr.base, s.idtr.base, s.tr.base);
    return text + board_.describe();
}

}  // namespace

void Machine::save(ByteWriter& out) {
    memory().save(out);
    save_state(out);
}

Result<void> Machine::load(ByteReader& in) {
    TRY(memory().load(in));
    return load_state(in);
}

Result<std::unique_ptr<Machine>> Machine::create(const MachineConfig& config,
                                                 const translate::EngineOptions& options,
                                                 bus::OutputSink& sink) {
    TRY(Board::check(config));
    auto placing = options.forks ? memory::Placing::kPrivate : memory::Placing::kMappable;
    auto memory = TRY(memory::GuestMemory::create(config.memory_bytes, placing));
    TRY(memory->add_rom(config.firmware));
    auto machine = std::make_unique<MachineImpl>(config, std::move(memory), options, sink);
    TRY(machine->boot());
    return std::unique_ptr<Machine>(std::move(machine));
}

}  // namespace lockstep::machine
