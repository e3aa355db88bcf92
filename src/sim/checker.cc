// SPDX-License-Identifier: Apache-2.0
#include "sim/checker.h"

#include <fmt/format.h>

namespace lockstep::sim {

void Checker::fail(std::string checker, std::string what) {
    if (failure_.empty()) failure_ = fmt::format("{}: {}", checker, what);
}

void Checker::effect(const Effect& e) {
    const ToyOutput& output = e.output;
    if (overruled(e.term)) return;
    if (e.term < newest_term_)
        fail("one owner",
             fmt::format("process {} let output {} out in term {}, but process {} owns the guest in term {}",
                         e.process, output.number, e.term.value(), newest_owner_, newest_term_.value()));
    if (!e.alone && e.backup_holds <= e.entry)
        fail("output rule",
             fmt::format("process {} let output {} out, which needs entry {}; its backup has {} entries",
                         e.process, output.number, e.entry.value(), e.backup_holds.value()));
    if (output.kind == EffectKind::kDiskWrite && e.term > newest_writers_term_) {
        newest_writers_term_ = e.term;
        newest_writer_ = e.process;
    }
    auto [found, first] = seen_.emplace(output.number, output);
    if (!first && !(found->second == output))
        fail("one history", fmt::format("output {} was seen with two contents", output.number));
}

bool Checker::begin_life(Term term, replica::Caution caution) {
    if (term < newest_life_ || term < newest_term_) return false;
    newest_life_ = term;
    if (caution == replica::Caution::kForce) forced_ = term;
    seen_.clear();
    answered_.clear();
    return true;
}

void Checker::said_to_have_left(uint64_t process, Term term, const ToyOutput& packet) {
    if (!overruled(term) && !seen_.contains(packet.number))
        fail("nothing skipped", fmt::format("process {} takes output {} for sent, but nobody has seen it",
                                            process, packet.number));
}

void Checker::disk_written(uint64_t process, Term term) {
    if (term < newest_writers_term_ && process != newest_writer_)
        fail("one owner",
             fmt::format(
                 "a write of process {} in term {} reached the disk, but process {} has written in term {}",
                 process, term.value(), newest_writer_, newest_writers_term_.value()));
}

void Checker::owner(uint64_t process, Term term, bool others_may_act) {
    if (overruled(term)) return;
    if (term <= newest_term_)
        fail("one owner",
             fmt::format("process {} became the owner in term {}, but process {} was it in term {}", process,
                         term.value(), newest_owner_, newest_term_.value()));
    if (others_may_act)
        fail("not two at once",
             fmt::format("process {} goes live in term {} while another one may act", process, term.value()));
    newest_term_ = term;
    newest_owner_ = process;
}

void Checker::diverged(uint64_t process) {
    fail("one history", fmt::format("the replay in process {} differs from its primary", process));
}

void Checker::finish_history(const std::vector<ToyEntry>& log) {
    ToyMachine reference;
    std::map<uint64_t, ToyOutput> made;
    auto collect = [&] {
        for (const ToyOutput& output : reference.take_outputs()) made.emplace(output.number, output);
    };
    for (const ToyEntry& entry : log) {
        reference.run(entry.icount);
        reference.deliver(entry);
        collect();
    }
    for (const auto& [number, output] : seen_) {
        auto found = made.find(number);
        if (found == made.end())
            fail("one history",
                 fmt::format("the outside saw output {}, which the survivor never made", number));
        else if (!(found->second == output))
            fail("one history",
                 fmt::format("output {} is not what the survivor's history makes of it", number));
    }
}

void Checker::finish_state(const ToyMachine& machine, const std::array<uint64_t, kSectors>& disk) {
    if (machine.saw_wrong_data()) fail("right data", "a read returned what had not been written last");
    for (uint64_t request : answered_)
        if (!machine.applied().contains(request))
            fail("nothing lost",
                 fmt::format("request {} was acknowledged, but the survivor doesn't know it", request));
    std::set<uint64_t> busy;
    for (const ToyOutput& output : machine.in_flight()) busy.insert(output.sector);
    for (uint64_t sector = 0; sector < kSectors; ++sector)
        if (!busy.contains(sector) && disk[sector] != machine.sectors()[sector])
            fail("nothing lost", fmt::format("sector {} doesn't hold what was written last", sector));
}

}  // namespace lockstep::sim
