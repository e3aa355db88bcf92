// SPDX-License-Identifier: Apache-2.0
#include "scene.h"

#include <fmt/format.h>

#include "base/check.h"
#include "machine/machine.h"

namespace lockstep::crash_points {

namespace {

constexpr Micros kSecond = 1000 * kMillisecond;
constexpr uint64_t kGuestMemory = 192 << 20, kClientMemory = 128 << 20;
constexpr uint64_t kStartTimeNs = 1'700'000'000'000'000'000;
constexpr const char* kGuestAddress = "10.77.0.10";
constexpr uint64_t kVm = 7;

template <typename T>
T needed(Result<T> file) {
    CHECK(file.ok(), "{}", file.error().message());
    return file.take();
}

}  // namespace

Scene::Scene(const SceneFiles& files, uint64_t seed)
    : image_(needed(host::MappedFile::open(files.image + "/disk.raw"))),
      program_(needed(host::MappedFile::open(files.load_client))),
      kernel_(needed(host::read_file(files.image + "/vmlinuz"))),
      initrd_(needed(host::read_file(files.initrd))),
      world_(seed),
      disk_(image_.bytes()),
      client_disk_(image_.bytes()),
      program_disk_(program_.bytes()),
      owner_(world_.add({"A", {&disk_}}, config(1, "", 0x10, {disk_.size()}))),
      backup_(world_.add({"B", {&disk_}}, config(2, "", 0x10, {}))),
      client_(world_.add({"C", {&client_disk_, &program_disk_}},
                         config(3, "init=/bin/bash", 0x11, {client_disk_.size(), program_disk_.size()}))) {
    world_.set_network(owner_, client_);
}

pair::Config Scene::config(uint64_t self, const std::string& arguments, uint8_t mac,
                           std::vector<uint64_t> disks) {
    machine::MachineConfig machine;
    machine.memory_bytes = self == 3 ? kClientMemory : kGuestMemory;
    for (uint64_t bytes : disks) machine.disks.push_back({bytes, false, ""});
    machine.networks.push_back({{0x52, 0x54, 0x00, 0x13, 0x77, mac}, false});
    machine.console = false;
    machine.kernel = kernel_;
    machine.initrd = initrd_;
    machine.command_line = "root=/dev/vda rw console=ttyS0 net.ifnames=0 " + arguments;
    if (arguments.empty())
        machine.command_line += fmt::format("ip={}::10.77.0.1:255.255.255.0:guest:eth0:off", kGuestAddress);
    machine.start_time_ns = kStartTimeNs;
    Bytes encoded;
    ByteWriter out(encoded);
    if (!disks.empty()) machine.save(out);

    pair::Config session;
    session.machine = std::move(encoded);
    session.configured_ns = world_.timeline().now_ns();
    session.replica.vm = self == 3 ? kVm + 1 : kVm;
    session.replica.self = self;
    session.replica.host = "this one";
    session.replica.vm_name = "guest";
    session.replica.build = session.replica.cpu = "this one";
    session.replica.policy = replica::Policy::kAlone;
    return session;
}

bool Scene::wait(const char* what, Micros longest, const std::function<bool()>& done) {
    bool came = world_.timeline().run(longest, [&] { return !world_.failure().empty() || done(); });
    if (!came) world_.fail(fmt::format("{} doesn't come within {} ms", what, longest / kMillisecond));
    return world_.failure().empty();
}

bool Scene::run(Side& side, const std::string& line) {
    std::string mark = fmt::format("[done {}]", ++lines_);
    side.type(fmt::format("{}; echo '[done' {}]\n", line, lines_));
    return wait(line.c_str(), 120 * kSecond,
                [&] { return world_.console(side).find(mark) != std::string::npos; });
}

bool Scene::set() {
    owner_.own();
    client_.own();
    auto shows = [this](Side& side, const char* text) {
        return [this, &side, text] { return world_.console(side).find(text) != std::string::npos; };
    };
    std::string redis = fmt::format("redis-cli -h {} ", kGuestAddress);
    std::string load = fmt::format("/run/load_client {} --redis-keys 200", kGuestAddress);
    bool booted =
        wait("the client's shell", 120 * kSecond, shows(client_, "job control")) &&
        run(client_, "stty -echo; export PS1= TERM=dumb PATH=/usr/sbin:/usr/bin:/sbin:/bin") &&
        run(client_, "mount -t tmpfs tmpfs /run; modprobe virtio_net; sleep 0.2; ip link set eth0 up") &&
        run(client_, fmt::format("head -c {} /dev/vdb >/run/load_client; chmod +x /run/load_client",
                                 program_.bytes().size())) &&
        run(client_, "ip address add 10.77.0.99/24 dev eth0") &&
        wait("the guest's login prompt", 300 * kSecond, shows(owner_, "login:")) &&
        run(client_, fmt::format("until {} ping; do sleep 0.5; done", redis)) &&
        // Each acknowledged write is on its disk.
        run(client_, redis + "config set appendonly yes; " + redis + "config set appendfsync always");
    if (!booted) return false;
    world_.offer_backup(backup_);
    if (Result<void> wanted = owner_.session().protect(); !wanted) world_.fail(wanted.error().message());
    if (!wait("the guest's protection", 60 * kSecond,
              [this] { return owner_.session().replica()->state() == replica::State::kProtected; }))
        return false;
    written_before_ = disk_.written();
    client_.type(load + "; echo '[status' $?]\n");
    Micros until = world_.timeline().now() + 3 * kSecond;
    return wait("time", 4 * kSecond, [&] { return world_.timeline().now() >= until; });
}

std::optional<int> Scene::load_status() {
    const std::string& console = world_.console(client_);
    size_t at = console.find("[status ");
    if (at == std::string::npos || console.find(']', at) == std::string::npos) return std::nullopt;
    return std::atoi(console.c_str() + at + 8);
}

}  // namespace lockstep::crash_points
