// SPDX-License-Identifier: Apache-2.0
// What lies around the sides of a sweep: the link between the hosts, the network, the disks, the consoles.
//
//     client C  <---- network ---->  guest on A, and on B once it is live there
//                                        A ---- link ----> B,  one disk for both
//
// It sees what leaves: what A's process has let out by the moment of its death is what the continuation must agree with.
#pragma once

#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "disk.h"
#include "side.h"
#include "timeline.h"

namespace lockstep::crash_points {

/// An output that a side has let out.
struct Left {
    LogPos entry;
    bool is_write;
};

class World {
  public:
    explicit World(uint64_t seed) : random_(seed) {}

    Timeline& timeline() { return timeline_; }
    std::mt19937_64& random() { return random_; }

    /// A side by itself; it is to be begun.
    Side& add(Side::Place place, pair::Config config);
    void set_network(Side& guest, Side& client) { guest_ = &guest, client_ = &client; }
    /// Whoever asks for a backup gets this one, once.
    void offer_backup(Side& backup) { offered_ = &backup; }
    Side* backup() { return backup_; }

    /// Its process dies. Of what it had sent the other side gets all but the last `lost` messages. Its writes that the
    /// disk has got take effect late or never.
    void kill(Side& side, uint64_t lost);
    /// Messages that are on their way.
    uint64_t messages_under_way() const { return messages_.size(); }

    const std::string& console(const Side& side) { return consoles_[side.name()]; }
    /// What A has let out since it has a backup.
    const std::vector<Left>& left() const { return left_; }
    /// What went wrong; empty: nothing.
    const std::string& failure() const { return failure_; }
    void fail(const std::string& sentence) {
        if (failure_.empty()) failure_ = sentence;
    }
    void say(const std::string& sentence) { said_.push_back(sentence); }
    const std::vector<std::string>& said() const { return said_; }

    /// Called on A, before and after each entry is told to its session.
    std::function<void(LogPos)> on_entry_comes, on_entry_told;

    // --- What sides do ---

    void entry_comes(Side& side, LogPos position);
    void entry_told(Side& side, LogPos position);
    void leaves(Side& side, const bus::Output& output, LogPos entry);
    void send_packet(Side& side, ByteSpan packet);
    void print(Side& side, ByteSpan text);
    void disk_gets(Side& side, Disk& disk, uint16_t device, uint64_t id, const bus::DiskRequest& request);
    void send_message(Side& from, Bytes message);
    void send_datagram(Side& from, Bytes datagram);
    void close_link(Side& from);
    void ask_for_backup(Side& owner);

  private:
    struct DiskWork {
        Side* side;
        Disk* disk;
        uint16_t device;
        uint64_t id;
        bus::DiskRequest request;
    };
    Side* other(Side& side);
    void disk_has_done(uint64_t number);

    Timeline timeline_;
    std::mt19937_64 random_;
    std::map<Owner, std::unique_ptr<Side>> sides_;
    Side *guest_ = nullptr, *client_ = nullptr;
    Side *offered_ = nullptr, *owner_ = nullptr, *backup_ = nullptr;
    std::map<uint64_t, DiskWork> disk_work_;
    std::map<uint64_t, std::pair<Owner, Bytes>> messages_;  ///< on their way, and to whom
    uint64_t next_number_ = 1;
    std::map<std::string, std::string> consoles_;
    std::vector<Left> left_;
    std::string failure_;
    std::vector<std::string> said_;
};

}  // namespace lockstep::crash_points
