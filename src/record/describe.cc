// SPDX-License-Identifier: Apache-2.0
#include "record/describe.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "base/check.h"
#include "base/foreign_text.h"
#include "base/hash.h"
#include "record/entry_table.h"
#include "record/payloads.h"

namespace lockstep::record {

namespace {

constexpr size_t kMostShown = 64;

std::string digest(ByteSpan bytes) {
    return fmt::format("{} bytes, hash {:016x}", bytes.size(), hash64(bytes));
}

/// The beginning as text, with \xNN for what doesn't print.
std::string quoted(ByteSpan bytes) {
    std::string text = "\"";
    for (uint8_t byte : bytes.first(std::min(bytes.size(), kMostShown))) {
        if (byte >= 0x20 && byte < 0x7f && byte != '"' && byte != '\\') {
            text += static_cast<char>(byte);
        } else {
            text += fmt::format("\\x{:02x}", byte);
        }
    }
    text += '"';
    if (bytes.size() > kMostShown) text += fmt::format(" and {} bytes more", bytes.size() - kMostShown);
    return text;
}

std::string text_of(const NetworkReceive& payload) {
    size_t bytes = 0;
    uint64_t hash = 0;
    for (const Bytes& packet : payload.packets) {
        bytes += packet.size();
        hash = hash64(packet, hash);
    }
    return fmt::format("{} packets, {} bytes, hash {:016x}", payload.packets.size(), bytes, hash);
}

std::string text_of(const DiskCompletion& payload) {
    static constexpr std::string_view kStatus[] = {"ok", "I/O error", "unsupported"};
    size_t status = static_cast<size_t>(payload.status);
    std::string text = fmt::format("request {}, {}", payload.request,
                                   status < std::size(kStatus) ? kStatus[status] : "unknown status");
    return payload.data.empty() ? text : text + ", " + digest(payload.data);
}

std::string text_of(const ConsoleInput& payload) { return quoted(payload.bytes); }

std::string text_of(const RandomBytes& payload) {
    return fmt::format("request {}, {}", payload.request, digest(payload.bytes));
}

std::string text_of(const TimeRate& payload) {
    return fmt::format("{:.6f} ns an instruction", static_cast<double>(payload.rate) / 4294967296.0);
}

std::string text_of(const TimeAdvance& payload) { return fmt::format("by {} ns", payload.ticks); }

std::string text_of(const PowerControl& payload) {
    switch (payload.action) {
        case PowerAction::kButton:
            return "power button";
        case PowerAction::kReset:
            return "reset";
        case PowerAction::kPowerOff:
            return "power-off";
    }
    return fmt::format("unknown action {}", static_cast<int>(payload.action));
}

std::string text_of(const Cut&) { return "a copy is made"; }

std::string text_of(const OutputMark& payload) { return fmt::format("output {}", payload.number); }

std::string text_of(const StateHashMark& payload) {
    std::string text = fmt::format("registers {:016x}, devices {:016x}", payload.registers, payload.devices);
    return payload.has_memory ? text + fmt::format(", memory {:016x}", payload.memory) : text;
}

std::string text_of(const EndMark& payload) {
    static constexpr std::string_view kReasons[] = {"unknown reason", "stopped", "power-off",
                                                    "reset",          "failure", "hand-over"};
    size_t reason = static_cast<size_t>(payload.reason);
    std::string text(kReasons[reason < std::size(kReasons) ? reason : 0]);
    return payload.message.empty() ? text : text + ": " + foreign_text(payload.message);
}

template <typename Payload>
Result<std::string> describe_as(const Entry& entry) {
    return text_of(TRY(decode<Payload>(entry)));
}

struct Row {
    EntryKind kind;
    Result<std::string> (*describe)(const Entry&);
};

template <typename... Payloads>
constexpr std::array<Row, sizeof...(Payloads)> rows() {
    return {Row{Payloads::kKind, describe_as<Payloads>}...};
}

/// One row for each entry kind; a test holds that none is missing.
constexpr auto kRows = rows<NetworkReceive, DiskCompletion, ConsoleInput, RandomBytes, TimeRate, TimeAdvance,
                            PowerControl, Cut, OutputMark, StateHashMark, EndMark>();

Result<std::string> describe(const Entry& entry) {
    const Row* row = std::ranges::find(kRows, entry.kind, &Row::kind);
    if (row == kRows.end()) return error("the kind has no description");
    return row->describe(entry);
}

}  // namespace

std::string describe_payload(const Entry& entry) {
    Result<std::string> text = describe(entry);
    return text ? text.take() : "malformed: " + text.error().message();
}

std::string malformed_payload(const Entry& entry) {
    Result<std::string> text = describe(entry);
    return text ? std::string() : text.error().message();
}

std::string describe_entry(LogPos position, const Entry& entry) {
    return fmt::format("{:>8}  icount {:<16} {:<15} device {:<3} {}", position.value(), entry.icount.value(),
                       entry_name(entry.kind), entry.device, describe_payload(entry));
}

}  // namespace lockstep::record
