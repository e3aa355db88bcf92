// SPDX-License-Identifier: Apache-2.0
// A protected stock guest under the demonstration's load: what a sweep begins with.
//
// The client is a machine, too: the same image, with a shell in place of its services, and the load client on a disk of
// its own. So all of it, down to the last TCP segment on its way, is in one process, which can be forked.
#pragma once

#include <string>

#include "host/files.h"
#include "world.h"

namespace lockstep::crash_points {

struct SceneFiles {
    std::string image;  ///< folder of the guest image
    std::string initrd;
    std::string load_client;
};

class Scene {
  public:
    Scene(const SceneFiles& files, uint64_t seed);

    /// Boots both guests, protects the first, and lets the client work for a while. False: see world().failure().
    bool set();

    World& world() { return world_; }
    Side& owner() { return owner_; }
    Side& backup() { return backup_; }
    Side& client() { return client_; }
    const Disk& disk() const { return disk_; }
    /// What was on the disk when the guest had just become protected.
    const Disk::Sectors& written_before() const { return written_before_; }

    /// Goes on until `done`; what is waited for is named where it doesn't come.
    bool wait(const char* what, Micros longest, const std::function<bool()>& done);
    /// The load ends, and looks whether all is there that was acknowledged.
    void end_load() { client_.type("end\n"); }
    bool load_has_ended() { return load_status().has_value(); }
    /// Of the load client: 0 where nothing was lost.
    std::optional<int> load_status();

  private:
    pair::Config config(uint64_t self, const std::string& address, uint8_t mac, std::vector<uint64_t> disks);
    /// Has a shell on the console run the line; waits until it has.
    bool run(Side& side, const std::string& line);

    host::MappedFile image_, program_;
    Bytes kernel_, initrd_;
    World world_;
    Disk disk_, client_disk_, program_disk_;
    Side &owner_, &backup_, &client_;
    Disk::Sectors written_before_;
    unsigned lines_ = 0;
};

}  // namespace lockstep::crash_points
