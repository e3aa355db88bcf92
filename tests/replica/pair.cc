// SPDX-License-Identifier: Apache-2.0
#include "pair.h"

#include <utility>

namespace lockstep::replica {

Config config_of(uint64_t self) {
    Config config;
    config.vm = 5;
    config.self = self;
    config.vm_name = "shop";
    config.host = self == kPrimaryId ? "a" : "b";
    config.build = "build 1";
    config.cpu = "cpu A";
    return config;
}

void Side::collect() {
    for (Action& action : replica.take_actions()) {
        if (auto* send = std::get_if<SendChannel>(&action))
            channel.push_back(send->bytes.take_joined());
        else if (auto* datagram = std::get_if<SendDatagram>(&action))
            datagrams.push_back(std::move(datagram->bytes));
        else
            done.push_back(std::move(action));
    }
}

bool Side::said(const std::string& text) const {
    for (const Action& action : done)
        if (const Say* say = std::get_if<Say>(&action); say && say->sentence.find(text) != std::string::npos)
            return true;
    return false;
}

Pair::Pair()
    : primary(Replica::solo(config_of(kPrimaryId), Term(1), LogPos(0))),
      backup(Replica::backup(config_of(kBackupId))) {}

void Pair::carry() {
    auto deliver = [this](std::vector<Bytes>& from, Side& to, bool is_channel) {
        for (Bytes& bytes : std::exchange(from, {})) {
            if (is_channel)
                to.replica.on_channel_message(now, bytes);
            else
                to.replica.on_datagram(now, bytes);
            to.collect();
        }
    };
    for (int round = 0; round < 4; ++round) {
        if (!channel_cut && !backup_stopped) deliver(primary.channel, backup, true);
        if (!channel_cut && !primary_stopped) deliver(backup.channel, primary, true);
        if (datagrams_cut) primary.datagrams.clear(), backup.datagrams.clear();
        if (!backup_stopped) deliver(primary.datagrams, backup, false);
        if (!primary_stopped) deliver(backup.datagrams, primary, false);
    }
}

void Pair::carry_slowly() {
    for (Side* from : {&primary, &backup}) {
        Side& to = from == &primary ? backup : primary;
        for (Bytes& bytes : std::exchange(from->channel, {}))
            under_way_.push_back({now + delay_ms, to, true, std::move(bytes)});
        for (Bytes& bytes : std::exchange(from->datagrams, {}))
            under_way_.push_back({now + delay_ms, to, false, std::move(bytes)});
    }
    for (; !under_way_.empty() && under_way_.front().due_ms <= now; under_way_.pop_front()) {
        auto& [due, to, is_channel, bytes] = under_way_.front();
        is_channel ? to.replica.on_channel_message(now, bytes) : to.replica.on_datagram(now, bytes);
        to.collect();
    }
}

void Pair::run(uint64_t ms) {
    for (uint64_t end = now + ms; now < end;) {
        now += 10;
        if (!primary_stopped) primary.replica.on_time(now), primary.collect();
        if (!backup_stopped) backup.replica.on_time(now), backup.collect();
        delay_ms == 0 ? carry() : carry_slowly();
    }
}

LogPos Pair::entry(record::EntryKind kind) {
    LogPos position = primary.replica.status(now).appended;
    icount += 10;
    primary.replica.on_entry(now, position, kind, Bytes{1, 2, 3});
    primary.collect();
    return position;
}

LogPos Pair::output() {
    LogPos position = entry(record::EntryKind::kOutput);
    primary.replica.on_output(now, position);
    flush();
    return position;
}

void Pair::replay_all() {
    backup.replica.on_replayed(now, backup.replica.status(now).appended, icount);
    backup.collect();
}

void Pair::close(ChannelEnd primary_sees, ChannelEnd backup_sees) {
    primary.channel.clear();
    backup.channel.clear();
    primary.replica.on_channel_closed(now, primary_sees);
    backup.replica.on_channel_closed(now, backup_sees);
    primary.collect();
    backup.collect();
}

void Pair::give(ClonePart part, Bytes bytes) {
    primary.replica.on_clone_piece(now, part, std::move(bytes));
    primary.collect();
    carry();
}

void Pair::make_machine() {
    ASSERT_NE(primary.last<StartClone>(), nullptr);
    primary.replica.on_clone_start(now, 3);
    give(ClonePart::kConfiguration, {1, 2});
    ASSERT_EQ(backup.last<MakeMachine>(), nullptr);
    give(ClonePart::kConfiguration, {3});
    ASSERT_NE(backup.last<MakeMachine>(), nullptr);
    ASSERT_EQ(primary.last<SendPages>(), nullptr);
    backup.replica.on_made(now, {});
    backup.collect();
    carry();
    ASSERT_NE(primary.last<SendPages>(), nullptr);
}

void Pair::cut_copy() {
    give(ClonePart::kPages, {4, 5});
    primary.replica.on_clone_cut(now, icount, 2);
    primary.collect();
    give(ClonePart::kState, {6, 7});
}

void Pair::end_copy() {
    give(ClonePart::kPages, {8});
    ASSERT_EQ(backup.last<LoadState>(), nullptr);
    give(ClonePart::kEnd, {});
    ASSERT_NE(backup.last<LoadState>(), nullptr);
}

void Pair::protect(uint64_t entries) {
    for (uint64_t i = 0; i < entries; ++i) entry(record::EntryKind::kNetworkReceive);
    run(20);
    backup.replica.on_channel_open(now);
    primary.replica.on_channel_open(now);
    primary.collect();
    carry();
    make_machine();
    cut_copy();
    end_copy();
    backup.replica.on_loaded(now, {});
    backup.collect();
    carry();
    ASSERT_EQ(primary.state(), State::kProtected);
    ASSERT_EQ(backup.state(), State::kReplaying);
    ASSERT_EQ(primary.last<StopVm>(), nullptr) << "the guest goes on while it is copied";
    run(100);
    primary.forget();
    backup.forget();
}

}  // namespace lockstep::replica
