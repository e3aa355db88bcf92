// SPDX-License-Identifier: Apache-2.0
#include "world.h"

namespace lockstep::crash_points {

namespace {
constexpr Micros kLink = 40, kNetwork = 60;
constexpr Micros kRead = 100, kWrite = 150, kFlush = 400;
/// How late a write of a dead process may take effect: within Timing::settle_ms.
constexpr Micros kLatest = 45 * kMillisecond;

Micros time_of(bus::DiskOperation operation) {
    switch (operation) {
        case bus::DiskOperation::kRead:
            return kRead;
        case bus::DiskOperation::kWrite:
            return kWrite;
        case bus::DiskOperation::kFlush:
            return kFlush;
    }
    return kFlush;
}
}  // namespace

Side& World::add(Side::Place place, pair::Config config) {
    Owner id = config.replica.self;
    return *(sides_[id] = std::make_unique<Side>(*this, id, std::move(place), std::move(config)));
}

Side* World::other(Side& side) { return &side == owner_ ? backup_ : &side == backup_ ? owner_ : nullptr; }

void World::kill(Side& side, uint64_t lost) {
    Side* survivor = other(side);
    side.die();
    for (; lost != 0 && !messages_.empty(); --lost) {
        auto last = std::prev(messages_.end());
        while (last->second.first != survivor->id() && last != messages_.begin()) --last;
        messages_.erase(last);
    }
    timeline_.after(kLink, kWorld, [survivor] { survivor->link_closed(); });
    for (auto work = disk_work_.begin(); work != disk_work_.end();) {
        auto [number, one] = *work;
        work = one.side == &side ? disk_work_.erase(work) : std::next(work);
        if (one.side != &side || one.request.operation != bus::DiskOperation::kWrite || random_() % 2)
            continue;
        timeline_.after(random_() % kLatest, kWorld,
                        [one = one] { one.disk->write(one.request.offset, one.request.data); });
    }
}

// --- What sides do ---

void World::entry_comes(Side& side, LogPos position) {
    if (&side == owner_ && on_entry_comes) on_entry_comes(position);
}

void World::entry_told(Side& side, LogPos position) {
    if (&side == owner_ && on_entry_told) on_entry_told(position);
}

void World::leaves(Side& side, const bus::Output& output, LogPos entry) {
    if (&side == owner_ && entry != LogPos(0))
        left_.push_back({entry, output.as<bus::DiskRequest>() != nullptr});
}

void World::send_packet(Side& side, ByteSpan packet) {
    bool from_client = &side == client_;
    timeline_.after(kNetwork, kWorld, [this, from_client, bytes = Bytes(packet.begin(), packet.end())] {
        if (!from_client) return client_->packet(bytes);
        for (Side* one : {guest_, backup_})
            if (one) one->packet(bytes);
    });
}

void World::print(Side& side, ByteSpan text) { consoles_[side.name()].append(text.begin(), text.end()); }

void World::disk_gets(Side& side, Disk& disk, uint16_t device, uint64_t id, const bus::DiskRequest& request) {
    uint64_t number = next_number_++;
    disk_work_.emplace(number, DiskWork{&side, &disk, device, id, request});
    timeline_.after(time_of(request.operation), kWorld, [this, number] { disk_has_done(number); });
}

void World::disk_has_done(uint64_t number) {
    auto found = disk_work_.extract(number);
    if (!found) return;
    const DiskWork& work = found.mapped();
    Bytes data;
    if (work.request.operation == bus::DiskOperation::kRead)
        data = work.disk->read(work.request.offset, work.request.size);
    if (work.request.operation == bus::DiskOperation::kWrite)
        work.disk->write(work.request.offset, work.request.data);
    work.side->disk_done(work.device, work.id, std::move(data));
}

void World::send_message(Side& from, Bytes message) {
    Side* to = other(from);
    if (!to) return;
    uint64_t number = next_number_++;
    messages_.emplace(number, std::pair(to->id(), std::move(message)));
    timeline_.after(kLink, to->id(), [this, to, number] {
        if (auto found = messages_.extract(number)) to->session().on_link_message(found.mapped().second);
    });
}

void World::send_datagram(Side& from, Bytes datagram) {
    Side* to = other(from);
    if (!to) return;
    timeline_.after(kLink, to->id(),
                    [to, datagram = std::move(datagram)] { to->session().on_link_datagram(datagram); });
}

void World::close_link(Side& from) {
    Side* to = other(from);
    if (to && !to->dead()) timeline_.after(kLink, to->id(), [to] { to->link_closed(); });
}

void World::ask_for_backup(Side& owner) {
    if (!offered_) return;
    owner_ = &owner;
    backup_ = std::exchange(offered_, nullptr);
    left_.clear();
    backup_->back_up();
    timeline_.after(kLink, owner.id(), [this] {
        owner_->link_open();
        backup_->link_open();
    });
}

}  // namespace lockstep::crash_points
