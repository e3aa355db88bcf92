// SPDX-License-Identifier: Apache-2.0
// Ports that keep what was asked of them, for tests that decide what is answered and when.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <string>
#include <vector>

#include "pair/ports.h"

namespace lockstep::pair {

/// What was asked of all ports, in order: "pause 3".
struct Calls {
    std::vector<std::string> made;
    void add(std::string call) { made.push_back(std::move(call)); }
    size_t count(const std::string& call) const {
        return static_cast<size_t>(std::ranges::count(made, call));
    }
    /// The calls so far; none is left.
    std::vector<std::string> take() { return std::exchange(made, {}); }
};

struct FakeClock : Clock {
    uint64_t now_ns() const override { return ns; }
    void wake(uint64_t at_ns) override { wake_ns = at_ns; }
    uint64_t ns = 1'000'000'000'000, wake_ns = 0;
};

struct FakeOutside : Outside {
    explicit FakeOutside(Calls& all) : calls(all) {}
    void submit(const bus::Output& output, LogPos entry) override {
        left.push_back(entry);
        outputs.push_back(output);
    }
    void issue_kept() override {}
    void show(const bus::Output&) override { calls.add("show"); }
    size_t in_flight() const override { return flying; }
    uint64_t completions() const override { return completed; }
    void drain() override { calls.add("drain"); }
    void acknowledged(LogPos) override {}
    void let_in(uint16_t device, Bytes packets) override {
        calls.add(fmt::format("let {} bytes in at {}", packets.size(), device));
    }
    void let_inputs_in() override { calls.add("let inputs in"); }
    void go_live() override { calls.add("outside goes live"); }
    void stop() override { calls.add("stop"); }

    Calls& calls;
    std::vector<LogPos> left;  ///< entries of what was submitted
    std::vector<bus::Output> outputs;
    size_t flying = 0;
    uint64_t completed = 0;
};

struct FakeGuest : Guest {
    explicit FakeGuest(Calls& all) : calls(all) {}
    void make(SharedBytes, MadeFor purpose) override {
        calls.add(purpose == MadeFor::kCopy ? "make for a copy" : "make");
    }
    void start_replay(LogPos position) override {
        calls.add(fmt::format("start replay at {}", position.value()));
    }
    void replay(std::vector<record::Entry> entries, Icount) override {
        calls.add(fmt::format("replay {}", entries.size()));
    }
    void go_live(LogPos position, uint64_t) override {
        calls.add(fmt::format("go live at {}", position.value()));
    }
    void pause(uint64_t number) override {
        paused = number;
        calls.add("pause");
    }
    void settle(uint64_t number) override {
        settled = number;
        calls.add("settle");
    }
    void resume() override { calls.add("resume"); }
    void set_speed(uint32_t permille) override { calls.add(fmt::format("speed {}", permille)); }
    void start_clone(uint64_t number) override { asked("start clone", number); }
    Taken take_pages(Bytes& out, size_t bytes) override {
        if (pieces.empty()) return Taken::kMore;
        auto [taken, size] = pieces.front();
        pieces.pop_front();
        out.resize(std::min(size, bytes));
        return taken;
    }
    void next_round(uint64_t number) override { asked("next round", number); }
    void cut(uint64_t number) override { asked("cut", number); }
    void end_clone() override { calls.add("end clone"); }
    Result<void> load_pages(ByteSpan records) override {
        calls.add(fmt::format("load {} bytes of pages", records.size()));
        if (refuses_pages) return error("the saved memory is damaged");
        return {};
    }
    void load_state(Bytes state) override { calls.add(fmt::format("load {} bytes of state", state.size())); }
    void asked(const std::string& what, uint64_t number) {
        clone = number;
        calls.add(what);
    }
    void be_careful() override { calls.add("be careful"); }
    void want_log(bool wanted) override { calls.add(wanted ? "want log" : "want no log"); }

    Calls& calls;
    uint64_t paused = 0, settled = 0, clone = 0;    ///< numbers of the last calls
    std::deque<std::pair<Taken, size_t>> pieces{};  ///< what take_pages() is to give
    bool refuses_pages = false;
};

struct FakeLink : Link {
    explicit FakeLink(Calls& all) : calls(all) {}
    bool is_open() const override { return open; }
    void send(const Pieces& message) override {
        Pieces copy = message;
        sent.push_back(copy.take_joined());
    }
    void send_datagram(ByteSpan datagram) override {
        datagrams.emplace_back(datagram.begin(), datagram.end());
    }
    size_t queued_bytes() const override { return queued; }
    void close() override {
        if (std::exchange(open, false)) calls.add("close");
    }
    void close_channel() override {
        if (std::exchange(open, false)) calls.add("close the channel");
    }
    void keep_last_words(const std::optional<Bytes>&) override {}

    Calls& calls;
    bool open = false;
    size_t queued = 0;
    std::vector<Bytes> sent, datagrams;
};

struct FakeArbiter : Arbiter {
    explicit FakeArbiter(Calls& all) : calls(all) {}
    void look(Term term) override { calls.add(fmt::format("look at {}", term.value())); }
    void claim(Term term) override { calls.add(fmt::format("claim {}", term.value())); }
    void renew(Term term, const std::optional<replica::HostPair>&) override {
        calls.add(fmt::format("renew {}", term.value()));
    }
    void set_free(Term term) override { calls.add(fmt::format("set {} free", term.value())); }
    Calls& calls;
};

struct FakeHost : Host {
    explicit FakeHost(Calls& all) : calls(all) {}
    void ask_for_backup() override { calls.add("ask for a backup"); }
    void went_live() override { calls.add("went live"); }
    void outputs_left() override { calls.add("outputs left"); }
    void ended(const Ending& how) override {
        ending = how;
        calls.add("ended");
    }
    void say(LogLevel, const std::string& sentence) override { said.push_back(sentence); }
    Calls& calls;
    std::optional<Ending> ending;
    std::vector<std::string> said;
};

struct FakePorts {
    Calls calls;
    FakeClock clock;
    FakeGuest guest{calls};
    FakeLink link{calls};
    FakeOutside outside{calls};
    FakeArbiter arbiter{calls};
    FakeHost host{calls};
    Ports ports() { return {clock, guest, link, outside, arbiter, host}; }
};

}  // namespace lockstep::pair
