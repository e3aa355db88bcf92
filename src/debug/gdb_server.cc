// SPDX-License-Identifier: Apache-2.0
#include "debug/gdb_server.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "debug/gdb_registers.h"

namespace lockstep::debug {

namespace {

constexpr std::string_view kRefused = "E01";
constexpr std::string_view kDone = "OK";
constexpr size_t kPieceOfOutput = 1024;

// Numbers of the Z packets.
constexpr uint64_t kSoftware = 0, kHardware = 1, kWrites = 2, kAccesses = 4;  // and 3, reads

Kind kind_of(uint64_t type) {
    if (type == kSoftware || type == kHardware) return Kind::kCode;
    return type == kWrites ? Kind::kWrite : Kind::kAccess;
}

std::string_view name_of_type(uint64_t type) {
    constexpr std::string_view kNames[] = {"swbreak", "hwbreak", "watch", "rwatch", "awatch"};
    return kNames[type];
}

}  // namespace

GdbServer::GdbServer(Timeline& timeline, Monitor& monitor, GdbLine line)
    : timeline_(timeline), monitor_(monitor), line_(line) {
    timeline_.set_interruption({line_.in, [this] { return !read_more() || reader_.take_interrupt(); }});
}

/// Waits for bytes; false: nobody is there any more.
bool GdbServer::read_more() {
    std::array<uint8_t, 4096> bytes;
    ssize_t got = 0;
    while ((got = ::read(line_.in, bytes.data(), bytes.size())) < 0 && errno == EINTR) {
    }
    if (got > 0) reader_.feed({bytes.data(), static_cast<size_t>(got)});
    gone_ = gone_ || got <= 0 || reader_.too_long();
    return !gone_;
}

void GdbServer::send(std::string_view text) {
    std::string rest = gdb_packet(text);
    last_sent_ = rest;
    while (!rest.empty()) {
        ssize_t done = ::write(line_.out, rest.data(), rest.size());
        if (done < 0 && errno == EINTR) continue;
        if (done <= 0) {
            gone_ = true;
            return;
        }
        rest.erase(0, static_cast<size_t>(done));
    }
}

Result<GdbServer::End> GdbServer::serve() {
    while (!gone_ && !end_) {
        std::optional<GdbEvent> event = reader_.next();
        if (!event) {
            read_more();
            continue;
        }
        char acknowledgement = event->what == GdbEvent::What::kPacket ? '+' : '-';
        bool of_packet =
            event->what == GdbEvent::What::kPacket || event->what == GdbEvent::What::kBadChecksum;
        if (acknowledges_ && of_packet && ::write(line_.out, &acknowledgement, 1) != 1) gone_ = true;
        if (event->what == GdbEvent::What::kPacket) TRY(handle(event->text));
        if (event->what == GdbEvent::What::kNotReceived && !last_sent_.empty() &&
            ::write(line_.out, last_sent_.data(), last_sent_.size()) < 0)
            gone_ = true;
    }
    timeline_.set_interruption({});
    return end_.value_or(End::kLeft);
}

Result<void> GdbServer::handle(std::string_view packet) {
    if (packet == "k") {
        end_ = End::kKilled;
        return {};
    }
    send(TRY(answer(packet)));
    if (packet == "QStartNoAckMode") acknowledges_ = false;
    if (packet.starts_with("D")) end_ = End::kLeft;
    if (packet.starts_with("vKill")) end_ = End::kKilled;
    return {};
}

Result<std::string> GdbServer::answer(std::string_view packet) {
    std::string_view rest = packet;
    if (packet == "?")
        return stop_reply({Why::kThere, timeline_.icount(), {}, {}}, TRY(timeline_.present().processor()));
    if (packet == "g") return hex_of(registers_of(TRY(timeline_.present().processor())));
    if (take_text(rest, "p")) {
        std::optional<uint64_t> number = take_hex(rest);
        Bytes value = number ? register_of(TRY(timeline_.present().processor()), *number) : Bytes();
        return value.empty() ? std::string(kRefused) : hex_of(value);
    }
    if (take_text(rest, "m")) return memory(rest);
    if (take_text(rest, "Z")) return set_stop(rest, true);
    if (take_text(rest, "z")) return set_stop(rest, false);
    if (packet == "vCont?") return std::string("vCont;c;C;s;S");
    if (take_text(rest, "vCont;")) packet = rest;
    if (packet == "bc") return moved(timeline_.run_back(stops()));
    if (packet == "bs") return moved(timeline_.step_back(stops()));
    if (packet.starts_with("c") || packet.starts_with("C")) return moved(timeline_.run(stops()));
    if (packet.starts_with("s") || packet.starts_with("S")) return moved(timeline_.step(stops()));
    if (packet.starts_with("G") || packet.starts_with("P") || packet.starts_with("M") ||
        packet.starts_with("X"))
        return std::string(kRefused);
    for (std::string_view agreed : {"QStartNoAckMode", "D", "vKill", "H", "T"})
        if (packet.starts_with(agreed)) return std::string(kDone);
    if (take_text(rest, "q")) return query(rest);
    return std::string();
}

Result<std::string> GdbServer::query(std::string_view packet) {
    if (packet.starts_with("Supported"))
        return fmt::format(
            "PacketSize={:x};QStartNoAckMode+;qXfer:features:read+;ReverseStep+;ReverseContinue+;swbreak+;"
            "hwbreak+;vContSupported+",
            GdbReader::kLongestPacket);
    if (take_text(packet, "Xfer:features:read:target.xml:")) return description(packet);
    if (take_text(packet, "Rcmd,")) return monitor(packet);
    if (packet == "C") return std::string("QC1");
    if (packet == "fThreadInfo") return std::string("m1");
    if (packet == "sThreadInfo") return std::string("l");
    if (packet.starts_with("Attached")) return std::string("1");
    if (packet.starts_with("Symbol")) return std::string(kDone);
    return std::string();
}

Result<std::string> GdbServer::memory(std::string_view arguments) {
    std::optional<uint64_t> at = take_hex(arguments);
    bool comma = take_text(arguments, ",");
    std::optional<uint64_t> size = take_hex(arguments);
    if (!at || !comma || !size) return std::string(kRefused);
    Bytes bytes = TRY(timeline_.present().read_linear(*at, std::min<uint64_t>(*size, Copy::kMostBytes)));
    return bytes.empty() ? std::string(kRefused) : hex_of(bytes);
}

std::string GdbServer::set_stop(std::string_view arguments, bool wanted) {
    std::optional<uint64_t> type = take_hex(arguments);
    bool first = take_text(arguments, ",");
    std::optional<uint64_t> at = take_hex(arguments);
    bool second = take_text(arguments, ",");
    std::optional<uint64_t> size = take_hex(arguments);
    bool whole = type && first && at && second && size;
    if (!whole || *type > kAccesses) return std::string(kRefused);
    Kind kind = kind_of(*type);
    Stop stop{*at, kind == Kind::kCode ? 1 : *size, kind};
    std::erase_if(wanted_, [&](const Wanted& one) { return one.stop == stop && one.type == *type; });
    if (wanted) wanted_.push_back({stop, *type});
    return std::string(kDone);
}

Stops GdbServer::stops() const {
    Stops all;
    for (const Wanted& one : wanted_) all.push_back(one.stop);
    return all;
}

const GdbServer::Wanted* GdbServer::wanted_at(const Stop& stop) const {
    auto found = std::ranges::find_if(wanted_, [&](const Wanted& one) { return one.stop == stop; });
    return found == wanted_.end() ? nullptr : &*found;
}

std::string GdbServer::description(std::string_view arguments) const {
    std::optional<uint64_t> at = take_hex(arguments);
    bool comma = take_text(arguments, ",");
    std::optional<uint64_t> size = take_hex(arguments);
    if (!at || !comma || !size) return std::string(kRefused);
    static const std::string text = target_description();
    if (*at >= text.size()) return "l";
    std::string piece = text.substr(*at, *size);
    return (*at + piece.size() < text.size() ? "m" : "l") + piece;
}

Result<std::string> GdbServer::moved(Result<Arrival> arrival) {
    if (!arrival) return arrival.take_error();
    if (arrival.value().why == Why::kBroken) {
        std::string problem = arrival.value().problem + "\n";
        send("O" + hex_of({reinterpret_cast<const uint8_t*>(problem.data()), problem.size()}));
    }
    return stop_reply(arrival.value(), TRY(timeline_.present().processor()));
}

std::string GdbServer::stop_reply(const Arrival& arrival, const cpu::CpuState& processor) const {
    std::string reply = arrival.why == Why::kInterrupted ? "T02" : "T05";
    reply += fmt::format("{:02x}:{};thread:1;", kGdbRip, hex_of(register_of(processor, kGdbRip)));
    if (arrival.why == Why::kBegin) reply += "replaylog:begin;";
    if (arrival.why == Why::kEnd || arrival.why == Why::kBroken) reply += "replaylog:end;";
    const Wanted* wanted = arrival.why == Why::kStop ? wanted_at(arrival.stop) : nullptr;
    if (!wanted) return reply;
    if (wanted->stop.is_code()) return reply + fmt::format("{}:;", name_of_type(wanted->type));
    return reply + fmt::format("{}:{:x};", name_of_type(wanted->type), wanted->stop.start);
}

Result<std::string> GdbServer::monitor(std::string_view hex) {
    std::optional<Bytes> bytes = bytes_of_hex(hex);
    if (!bytes) return std::string(kRefused);
    std::string text = TRY(monitor_.carry_out(std::string(bytes->begin(), bytes->end())));
    for (size_t at = 0; at < text.size(); at += kPieceOfOutput) {
        std::string piece = text.substr(at, kPieceOfOutput);
        send("O" + hex_of({reinterpret_cast<const uint8_t*>(piece.data()), piece.size()}));
    }
    return std::string(kDone);
}

}  // namespace lockstep::debug
