// SPDX-License-Identifier: Apache-2.0
// A VM's process on a host of its own: the real session over the ports of a sweep.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "disk.h"
#include "disk/request_queue.h"
#include "guest.h"
#include "pair/session.h"

namespace lockstep::crash_points {

class World;

/// What a sweep may have a process do wrong, or at an entry of its choice.
struct SideHooks : replica::Hooks {
    bool strikes(replica::FaultPoint point) override {
        return point == replica::FaultPoint::kSmallBatch && sends_each_entry;
    }
    bool planted(replica::PlantedBug bug) const override { return bug == planted_bug; }
    bool stops() override { return dead; }

    std::optional<replica::PlantedBug> planted_bug;
    bool sends_each_entry = false;
    bool dead = false;
};

class Side : private pair::Clock,
             private pair::Link,
             private pair::Arbiter,
             private pair::Host,
             private pair::Outside {
  public:
    /// Where its guest's traffic goes, and its disks.
    struct Place {
        std::string name;
        std::vector<Disk*> disks;
    };
    Side(World& world, Owner id, Place place, pair::Config config);

    Owner id() const { return id_; }
    const std::string& name() const { return place_.name; }
    Guest& guest() { return guest_; }
    pair::Session& session() { return session_; }
    SideHooks& hooks() { return hooks_; }
    bool dead() const { return hooks_.dead; }
    bool lets_inputs_in() const { return live_ && !dead(); }
    /// Nothing of what its guest has made is under way.
    bool quiet() const { return in_flight() == 0 && session_.gate()->held() == 0 && guest_.has_told_all(); }

    // --- How it begins and ends ---

    void own();
    void back_up();
    void die();

    // --- What happens to it ---

    void type(const std::string& text);
    void packet(ByteSpan packet);
    void disk_done(uint16_t device, uint64_t id, Bytes data);
    void link_open() {
        link_open_ = true;
        session_.on_link_open();
    }
    void link_closed();

    // --- What its guest tells ---

    void entry_comes(LogPos position);
    /// It has been told, and so has the output that belongs to it.
    void entry_told(LogPos position);
    void fail(const std::string& sentence);

  private:
    struct Request {
        bus::DiskRequest request;
        LogPos entry;
    };
    struct Queue {
        disk::RequestQueue order;
        std::map<uint64_t, Request> requests;
    };
    void tick();
    void let_out(uint16_t device, const bus::Packets& packets, LogPos entry);
    void let_out(uint16_t device, const bus::DiskRequest& request, LogPos entry);
    void let_out(uint16_t device, const bus::ConsoleBytes& printed, LogPos entry);
    void let_out(uint16_t device, const bus::RandomRequest& request, LogPos entry);
    void let_out(uint16_t, const bus::NetworkOffloads&, LogPos) {}
    void issue(uint16_t device);

    // pair::Clock
    uint64_t now_ns() const override;
    void wake(uint64_t at_ns) override;
    // pair::Link
    bool is_open() const override { return link_open_; }
    void send(const Pieces& message) override;
    void send_datagram(ByteSpan datagram) override;
    size_t queued_bytes() const override { return 0; }
    void close() override;
    void close_channel() override { close(); }
    void keep_last_words(const std::optional<Bytes>&) override {}
    // pair::Arbiter
    void look(Term) override {}
    void claim(Term term) override;
    void renew(Term, const std::optional<replica::HostPair>&) override {}
    void set_free(Term) override {}
    // pair::Host
    void ask_for_backup() override;
    void went_live() override {}
    void outputs_left() override {}
    void ended(const pair::Ending& ending) override;
    void say(LogLevel level, const std::string& sentence) override;
    // pair::Outside
    void submit(const bus::Output& output, LogPos entry) override;
    void issue_kept() override;
    void show(const bus::Output&) override {}
    size_t in_flight() const override;
    uint64_t completions() const override { return completions_; }
    void drain() override {}
    void acknowledged(LogPos) override {}  // no watcher outlives an owner here: what it had is lost
    void let_in(uint16_t device, Bytes packets) override;
    void let_inputs_in() override { live_ = true; }
    void go_live() override { live_ = true; }
    void stop() override { live_ = false; }

    World& world_;
    Owner id_;
    Place place_;
    SideHooks hooks_;
    Guest guest_;
    pair::Session session_;
    bool link_open_ = false;
    bool live_ = false;
    std::map<uint16_t, Queue> queues_;  ///< by device
    uint64_t next_request_ = 1;
    uint64_t completions_ = 0;
    uint64_t random_ = 0;
};

}  // namespace lockstep::crash_points
