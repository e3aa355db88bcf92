// SPDX-License-Identifier: Apache-2.0
#include "debug/monitor.h"

#include <charconv>
#include <deque>
#include <sstream>

#include "host/files.h"
#include "record/describe.h"
#include "record/log_stream.h"

namespace lockstep::debug {

namespace {

constexpr size_t kEntries = 10;
constexpr size_t kChunk = 1 << 20;
constexpr std::string_view kStale =
    "gdb doesn't know yet that it stands elsewhere: maintenance flush register-cache\n";

/// Decimal, or hexadecimal with 0x before.
std::optional<uint64_t> number_of(std::string text) {
    bool hex = text.starts_with("0x");
    if (hex) text.erase(0, 2);
    uint64_t number = 0;
    auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), number, hex ? 16 : 10);
    if (problem != std::errc() || end != text.data() + text.size()) return std::nullopt;
    return number;
}

/// The entries around an icount, some of each side.
class EntriesAround {
  public:
    EntriesAround(Icount icount, size_t each) : icount_(icount), each_(each) {}

    Result<std::string> read(const std::string& path) {
        host::MappedFile file = TRY(host::MappedFile::open(path));
        record::LogReader reader;
        for (ByteSpan rest = file.bytes(); behind_ < each_;) {
            auto frame = reader.next();
            if (!frame) break;  // what comes before the fault is good
            if (frame.value()) {
                if (auto* batch = std::get_if<record::EntryBatch>(&frame.value()->content)) take(*batch);
                continue;
            }
            if (rest.empty()) break;
            size_t size = std::min(kChunk, rest.size());
            reader.feed(rest.first(size));
            rest = rest.subspan(size);
        }
        std::string text;
        for (const std::string& line : lines_) text += line + "\n";
        return text;
    }

  private:
    void take(const record::EntryBatch& batch) {
        LogPos position = batch.first;
        for (const record::Entry& entry : batch.entries) {
            bool comes = entry.icount >= icount_;
            if (comes && behind_ == each_) return;
            if (comes && behind_++ == 0) lines_.push_back(fmt::format("--- icount {}", icount_.value()));
            lines_.push_back(record::describe_entry(position, entry));
            ++position;
            if (!comes && lines_.size() > each_) lines_.pop_front();
        }
    }

    Icount icount_;
    size_t each_;
    size_t behind_ = 0;
    std::deque<std::string> lines_;
};

}  // namespace

struct Monitor::Command {
    std::string_view name;
    std::string_view arguments;
    std::string_view meaning;
    Result<std::string> (Monitor::*run)(const std::vector<std::string>& words);
};

const std::vector<Monitor::Command>& Monitor::commands() {
    static const std::vector<Command> all = {
        {"help", "", "this list", &Monitor::help},
        {"icount", "", "the number of instructions up to here, and where the recording begins",
         &Monitor::icount},
        {"goto", "ICOUNT", "to another place", &Monitor::go},
        {"log", "[N]", "the N entries of the log before and after this place", &Monitor::log},
        {"devices", "", "registers and devices", &Monitor::devices},
        {"search", "changes ADDRESS LENGTH", "back to before the last change of a part of memory",
         &Monitor::search},
    };
    return all;
}

Result<std::string> Monitor::carry_out(const std::string& line) {
    std::istringstream stream(line);
    std::vector<std::string> words;
    for (std::string word; stream >> word;) words.push_back(word);
    for (const Command& command : commands())
        if (!words.empty() && words[0] == command.name) return (this->*command.run)(words);
    return fmt::format("there is no command \"{}\"; try \"monitor help\"\n", line);
}

Result<std::string> Monitor::help(const std::vector<std::string>&) {
    std::string text;
    for (const Command& command : commands())
        text +=
            fmt::format("{:32} {}\n", fmt::format("{} {}", command.name, command.arguments), command.meaning);
    return text;
}

Result<std::string> Monitor::icount(const std::vector<std::string>&) {
    return fmt::format("icount {}; the recording begins at {}; {} copies lie behind\n",
                       timeline_.icount().value(), timeline_.begin().value(), timeline_.copies());
}

std::string Monitor::moved(const Arrival& arrival) const {
    std::string text = fmt::format("icount {}\n", timeline_.icount().value());
    if (arrival.why == Why::kEnd) text += "the recording ends here\n";
    if (arrival.why == Why::kBegin) text += "the recording begins here\n";
    if (arrival.why == Why::kInterrupted) text += "interrupted\n";
    if (arrival.why == Why::kBroken) text += arrival.problem + "\n";
    return text + std::string(kStale);
}

Result<std::string> Monitor::go(const std::vector<std::string>& words) {
    std::optional<uint64_t> place = words.size() == 2 ? number_of(words[1]) : std::nullopt;
    if (!place) return std::string("goto wants an icount, as \"monitor goto 123456\"\n");
    return moved(TRY(timeline_.go(Icount(*place))));
}

Result<std::string> Monitor::log(const std::vector<std::string>& words) {
    std::optional<uint64_t> each = words.size() == 2 ? number_of(words[1]) : kEntries;
    if (!each) return std::string("log wants a number of entries, as \"monitor log 20\"\n");
    auto text = EntriesAround(timeline_.icount(), *each).read(path_);
    return text ? text.take() : text.error().message() + "\n";
}

Result<std::string> Monitor::devices(const std::vector<std::string>&) {
    return timeline_.present().describe();
}

Result<std::string> Monitor::search(const std::vector<std::string>& words) {
    bool whole = words.size() == 4 && words[1] == "changes";
    std::optional<uint64_t> at = whole ? number_of(words[2]) : std::nullopt;
    std::optional<uint64_t> size = whole ? number_of(words[3]) : std::nullopt;
    if (!at || !size || *size == 0 || *size > Copy::kMostBytes)
        return std::string(
            "search wants an address and a length, as \"monitor search changes 0xffffffff81000000 8\"\n");
    Result<Arrival> change = timeline_.last_change(*at, *size);
    if (!change) return change.error().message() + "\n";
    if (change.value().why == Why::kBegin)
        return std::string("it has not changed since the recording began; nothing was moved\n");
    return moved(change.value());
}

}  // namespace lockstep::debug
