// SPDX-License-Identifier: Apache-2.0
#include "record/inspect.h"

#include <algorithm>
#include <array>

#include "base/foreign_text.h"
#include "record/describe.h"
#include "record/entry_table.h"
#include "record/payloads.h"

namespace lockstep::record {

namespace {

constexpr size_t kChunkBytes = 256 << 10;
constexpr size_t kContextEntries = 3;

std::string problem_of(const LogCursor& log, const Error& error) {
    return log.name() + ": " + error.message();
}

/// Guest time that passes in a log, from the entries that steer it (see bus/virtual_clock.h).
class GuestTime {
  public:
    explicit GuestTime(Icount start) : last_(start) {}

    void entry(const Entry& entry) {
        ticks_ += static_cast<double>(entry.icount - last_) * rate_;
        last_ = entry.icount;
        if (entry.kind == EntryKind::kTimeRate) {
            if (auto rate = decode<TimeRate>(entry))
                rate_ = static_cast<double>(rate.value().rate) / 4294967296.0;
        } else if (entry.kind == EntryKind::kTimeAdvance) {
            if (auto advance = decode<TimeAdvance>(entry))
                ticks_ += static_cast<double>(advance.value().ticks);
        }
    }
    double seconds() const { return ticks_ / 1e9; }

  private:
    Icount last_;
    double rate_ = 1;  ///< ns an instruction; that of a machine at power-on
    double ticks_ = 0;
};

struct KindTotal {
    uint64_t entries = 0;
    uint64_t bytes = 0;
};

/// What summarise() gathers.
struct Totals {
    StartInfo start;
    LogPos first_position;
    uint64_t frames = 0;
    uint64_t stored_bytes = 0;    ///< of the whole log
    uint64_t snapshot_bytes = 0;  ///< plain
    uint64_t entry_frames = 0;
    uint64_t entry_stored = 0;  ///< entries frames with their headers, as stored
    uint64_t entry_plain = 0;   ///< their bodies, plain
    uint64_t entries = 0;
    std::array<KindTotal, 256> kinds{};
    std::optional<Icount> first_icount;
    Icount last_icount;
    std::optional<GuestTime> time;

    void add(const Frame& frame);

  private:
    void add(const EntryBatch& batch);
};

void Totals::add(const Frame& frame) {
    ++frames;
    uint64_t stored = kFrameHeaderSize + frame.header.body_size;
    stored_bytes += stored;
    if (const auto* info = std::get_if<StartInfo>(&frame.content)) {
        start = *info;
        first_position = frame.header.position();
        time.emplace(start.first_icount);
    } else if (const auto* piece = std::get_if<SnapshotPiece>(&frame.content)) {
        snapshot_bytes += piece->bytes.size();
    } else if (const auto* batch = std::get_if<EntryBatch>(&frame.content)) {
        ++entry_frames;
        entry_stored += stored;
        entry_plain += frame.header.plain_size;
        add(*batch);
    }
}

void Totals::add(const EntryBatch& batch) {
    Icount previous;
    for (const Entry& entry : batch.entries) {
        KindTotal& total = kinds[static_cast<uint8_t>(entry.kind)];
        ++total.entries;
        total.bytes += encoded_size(entry, previous);
        previous = entry.icount;
        if (!first_icount) first_icount = entry.icount;
        last_icount = entry.icount;
        time->entry(entry);
    }
    entries += batch.entries.size();
}

std::string rate_text(double bytes, double seconds, std::string_view clock) {
    return fmt::format("{:.0f} bytes per {} second ({:.4f} Mbit/s)\n", bytes / seconds, clock,
                       bytes * 8 / 1e6 / seconds);
}

std::string start_text(const Totals& totals) {
    const StartInfo& start = totals.start;
    std::string text = fmt::format("recorded by    {}\n", foreign_text(start.build.version));
    text += fmt::format("processor      {}, family {:#x}, model {:#x}\n", foreign_text(start.cpu.vendor),
                        start.cpu.family, start.cpu.model);
    text += fmt::format(
        "begins         {} at icount {}, log position {}; configuration of {} bytes\n",
        start.origin == Origin::kSnapshot ? fmt::format("with a snapshot of {} bytes", totals.snapshot_bytes)
                                          : "at power-on",
        start.first_icount.value(), totals.first_position.value(), start.configuration.size());
    return text;
}

std::string kinds_text(const Totals& totals) {
    std::string text = fmt::format("{:<15} {:>10} {:>14} {:>8}\n", "kind", "entries", "bytes", "each");
    for (EntryKind kind : entry_kinds()) {
        const KindTotal& total = totals.kinds[static_cast<uint8_t>(kind)];
        if (total.entries == 0) continue;
        text += fmt::format("{:<15} {:>10} {:>14} {:>8.1f}\n", entry_name(kind), total.entries, total.bytes,
                            static_cast<double>(total.bytes) / static_cast<double>(total.entries));
    }
    return text;
}

std::string totals_text(const Totals& totals, std::optional<double> host_seconds) {
    std::string text = start_text(totals);
    text += fmt::format("entries        {}", totals.entries);
    if (totals.first_icount) {
        text += fmt::format(", icount {} to {}", totals.first_icount->value(), totals.last_icount.value());
    }
    text += '\n' + kinds_text(totals);
    text += fmt::format("entry frames   {} of {} frames; {} bytes of entries stored in {} bytes\n",
                        totals.entry_frames, totals.frames, totals.entry_plain, totals.entry_stored);
    text += fmt::format("whole log      {} bytes\n", totals.stored_bytes);
    double guest_seconds = totals.time->seconds();
    text += fmt::format("guest time     {}{:.6f} s\n",
                        totals.start.origin == Origin::kSnapshot ? "about " : "", guest_seconds);
    double bytes = static_cast<double>(totals.entry_stored);
    if (guest_seconds > 0) text += "bandwidth      " + rate_text(bytes, guest_seconds, "guest");
    if (host_seconds && *host_seconds > 0)
        text += "bandwidth      " + rate_text(bytes, *host_seconds, "host");
    return text;
}

/// Calls `visit(located)` for each entry; what stops it is the problem.
template <typename Visit>
std::string for_each_entry(LogCursor& log, Visit visit) {
    while (true) {
        auto located = log.next_entry();
        if (!located) return problem_of(log, located.error());
        if (!located.value()) return {};
        if (!visit(*located.value())) return {};
    }
}

/// Why two logs can't be the same recording, from what is before their entries.
std::string start_difference(const StartInfo& left, const StartInfo& right) {
    if (left.origin != right.origin) return "one begins at power-on, the other with a snapshot";
    if (left.first_icount != right.first_icount) {
        return fmt::format("they begin at icount {} and {}", left.first_icount.value(),
                           right.first_icount.value());
    }
    if (left.configuration != right.configuration) return "the machines' configurations differ";
    return {};
}

std::string side_text(const LogCursor& log, const std::optional<LogCursor::Located>& located) {
    std::string text = "  " + log.name() + ":\n    ";
    return text + (located ? describe_entry(located->position, located->entry) : "(the log has ended)") +
           '\n';
}

}  // namespace

ByteSource bytes_source(ByteSpan bytes) {
    return [bytes](std::span<uint8_t> buffer) mutable -> Result<size_t> {
        size_t size = std::min(buffer.size(), bytes.size());
        std::ranges::copy(bytes.first(size), buffer.begin());
        bytes = bytes.subspan(size);
        return size;
    };
}

LogCursor::LogCursor(std::string name, ByteSource source)
    : name_(std::move(name)), source_(std::move(source)), chunk_(kChunkBytes) {}

Result<std::optional<Frame>> LogCursor::next_frame() {
    while (true) {
        std::optional<Frame> frame = TRY(reader_.next());
        if (frame) {
            if (const auto* info = std::get_if<StartInfo>(&frame->content)) start_ = *info;
            return frame;
        }
        size_t size = TRY(source_(chunk_));
        if (size == 0) {
            TRY(reader_.finish());
            return std::optional<Frame>();
        }
        reader_.feed(ByteSpan(chunk_).first(size));
    }
}

Result<std::optional<LogCursor::Located>> LogCursor::next_entry() {
    while (batch_.empty()) {
        std::optional<Frame> frame = TRY(next_frame());
        if (!frame) return std::optional<Located>();
        if (auto* batch = std::get_if<EntryBatch>(&frame->content)) {
            batch_position_ = batch->first;
            batch_.assign(std::make_move_iterator(batch->entries.begin()),
                          std::make_move_iterator(batch->entries.end()));
        }
    }
    Located located{batch_position_, std::move(batch_.front())};
    batch_.pop_front();
    ++batch_position_;
    return std::optional<Located>(std::move(located));
}

Inspection summarise(LogCursor& log, std::optional<double> host_seconds) {
    Totals totals;
    Inspection inspection;
    while (true) {
        auto frame = log.next_frame();
        if (!frame) inspection.problem = problem_of(log, frame.error());
        if (!frame || !frame.value()) break;
        totals.add(*frame.value());
    }
    if (totals.frames == 0) return inspection;
    inspection.text = fmt::format("log            {}\n", log.name()) + totals_text(totals, host_seconds);
    return inspection;
}

Inspection list_entries(LogCursor& log, const EntryRange& range) {
    Inspection inspection;
    uint64_t shown = 0;
    if (range.most == 0) return inspection;
    inspection.problem = for_each_entry(log, [&](const LogCursor::Located& located) {
        if (located.position < range.first || (range.kind && located.entry.kind != *range.kind)) return true;
        inspection.text += describe_entry(located.position, located.entry) + '\n';
        return ++shown < range.most;
    });
    return inspection;
}

Inspection verify(LogCursor& log) {
    Inspection inspection;
    uint64_t entries = 0;
    std::string payload_problem;
    std::string problem = for_each_entry(log, [&](const LogCursor::Located& located) {
        payload_problem = malformed_payload(located.entry);
        if (!payload_problem.empty()) {
            payload_problem =
                fmt::format("{}: log position {}: {}", log.name(), located.position.value(), payload_problem);
            return false;
        }
        ++entries;
        return true;
    });
    inspection.problem = problem.empty() ? payload_problem : problem;
    inspection.text =
        inspection.problem.empty()
            ? fmt::format("{}: whole and undamaged, {} entries\n", log.name(), entries)
            : fmt::format("{}: {} entries are good before the first fault\n", log.name(), entries);
    return inspection;
}

Inspection list_state_hashes(LogCursor& log) {
    EntryRange range;
    range.kind = EntryKind::kStateHash;
    return list_entries(log, range);
}

Inspection first_difference(LogCursor& left, LogCursor& right) {
    Inspection inspection;
    std::deque<std::string> context;
    for (bool first = true;; first = false) {
        auto here = left.next_entry();
        if (!here) return {inspection.text, problem_of(left, here.error())};
        auto there = right.next_entry();
        if (!there) return {inspection.text, problem_of(right, there.error())};
        const auto& a = here.value();
        const auto& b = there.value();
        if (std::string start = first ? start_difference(*left.start(), *right.start()) : "";
            !start.empty()) {
            inspection.problem = fmt::format("{} and {} differ: {}", left.name(), right.name(), start);
            return inspection;
        }
        if (!a && !b) {
            inspection.text = fmt::format("{} and {} say the same\n", left.name(), right.name());
            return inspection;
        }
        if (a && b && a->position == b->position && a->entry == b->entry) {
            context.push_back(describe_entry(a->position, a->entry));
            if (context.size() > kContextEntries) context.pop_front();
            continue;
        }
        for (const std::string& line : context) inspection.text += "    " + line + '\n';
        inspection.text += side_text(left, a) + side_text(right, b);
        inspection.problem = fmt::format("{} and {} differ from log position {} on", left.name(),
                                         right.name(), (a ? a : b)->position.value());
        return inspection;
    }
}

}  // namespace lockstep::record
