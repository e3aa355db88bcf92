// SPDX-License-Identifier: Apache-2.0
#include "pair_harness.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <sstream>

#include "host/authority_folder.h"
#include "host/clock.h"
#include "host/control_socket.h"
#include "host/runtime_folder.h"

extern char** environ;

namespace lockstep::vmm::testing {

namespace {

constexpr unsigned kPollMs = 10;

sockaddr_in loopback(uint16_t port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(port);
    return address;
}

host::FileDescriptor connect_unix(const std::string& path) {
    host::FileDescriptor socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
    if (::connect(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) return {};
    return socket;
}

}  // namespace

void sleep_ms(unsigned ms) { std::this_thread::sleep_for(std::chrono::milliseconds(ms)); }

// --- Processes ---

Process::Process(const std::vector<std::string>& arguments, const std::string& log_path) {
    std::vector<char*> pointers;
    for (const std::string& argument : arguments) pointers.push_back(const_cast<char*>(argument.c_str()));
    pointers.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 1, log_path.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
    posix_spawn_file_actions_adddup2(&actions, 1, 2);
    EXPECT_EQ(posix_spawn(&process_, pointers[0], &actions, nullptr, pointers.data(), environ), 0);
    posix_spawn_file_actions_destroy(&actions);
}

Process::~Process() {
    if (process_ <= 0) return;
    ::kill(process_, SIGKILL);
    ::waitpid(process_, nullptr, 0);
}

int Process::wait(unsigned timeout_ms) {
    for (unsigned waited = 0; process_ > 0 && waited <= timeout_ms; waited += kPollMs) {
        int status = 0;
        if (::waitpid(process_, &status, WNOHANG) == process_) {
            process_ = 0;
            status_ = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
            break;
        }
        sleep_ms(kPollMs);
    }
    return status_;
}

// --- The proxy ---

HeldPort::HeldPort() : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address = loopback(0);
    socklen_t size = sizeof address;
    EXPECT_EQ(::bind(socket_.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(::getsockname(socket_.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
    number_ = ntohs(address.sin_port);
    // Only now: with it the system could have chosen a port that somebody else holds in the same way.
    int one = 1;
    ::setsockopt(socket_.get(), SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
}

Proxy::Proxy(uint16_t to_port)
    : listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)), to_port_(to_port) {
    int one = 1;
    ::setsockopt(listener_.get(), SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    sockaddr_in address = loopback(port());
    EXPECT_EQ(::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    ::listen(listener_.get(), 8);
    thread_ = std::thread([this] { forward(); });
}

Proxy::~Proxy() {
    stopping_ = true;
    thread_.join();
}

void Proxy::cut() { cut_ = true; }

void Proxy::forward() {
    std::vector<std::pair<host::FileDescriptor, host::FileDescriptor>> connections;
    std::vector<char> buffer(1 << 16);
    while (!stopping_) {
        if (cut_) connections.clear();
        if (frozen_ || cut_) {
            sleep_ms(kPollMs);
            continue;
        }
        std::vector<pollfd> polled = {{listener_.get(), POLLIN, 0}};
        for (auto& [left, right] : connections) {
            polled.push_back({left.get(), POLLIN, 0});
            polled.push_back({right.get(), POLLIN, 0});
        }
        ::poll(polled.data(), polled.size(), 20);
        std::erase_if(connections, [&, i = size_t{1}](auto& connection) mutable {
            bool over = false;
            for (auto [from, to] : {std::pair{connection.first.get(), connection.second.get()},
                                    {connection.second.get(), connection.first.get()}}) {
                if (!polled[i++].revents || over) continue;
                ssize_t got = ::recv(from, buffer.data(), buffer.size(), 0);
                over = got <= 0 || ::send(to, buffer.data(), static_cast<size_t>(got), MSG_NOSIGNAL) != got;
            }
            return over;
        });
        if (polled[0].revents) {
            host::FileDescriptor left(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
            host::FileDescriptor right(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
            sockaddr_in address = loopback(to_port_);
            if (::connect(right.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0)
                connections.emplace_back(std::move(left), std::move(right));
        }
    }
}

// --- Consoles ---

std::string read_console(const std::string& path) {
    host::FileDescriptor socket = connect_unix(path);
    std::string text;
    char buffer[4096];
    pollfd polled{socket.get(), POLLIN, 0};
    // What was printed so far comes at once; what follows is of later calls.
    while (socket && ::poll(&polled, 1, 50) > 0) {
        ssize_t got = ::recv(socket.get(), buffer, sizeof buffer, 0);
        if (got <= 0) break;
        text.append(buffer, static_cast<size_t>(got));
        if (got < static_cast<ssize_t>(sizeof buffer)) break;
    }
    return text;
}

// --- The pair ---

Pair::Pair(bool through_proxy, Storage storage, Security security) : security_(security) {
    char name[] = "/tmp/lockstep-pair-XXXXXX";
    folder = ::mkdtemp(name);
    shared = folder + "/shared";
    std::filesystem::create_directories(shared + "/arbiter");
    for (const char* host : {"a", "b"}) ports_.try_emplace(host);
    if (through_proxy) proxy_ = std::make_unique<Proxy>(ports_["b"].number());
    configure("toy");
    if (security_ == Security::kTls) make_cluster();
    for (const char* host : {"a", "b"}) {
        std::filesystem::create_directories(runtime(host));
        allow(host, fmt::format("folders = [\"{}\", \"/dev/null\"]\n", folder));
        if (storage == Storage::kCacheOfEachHost) give_cache(host);
        start_daemon(host, LOCKSTEP_TOY);
    }
}

bool Pair::can_have_caches() { return geteuid() == 0 && ::access("/dev/fuse", R_OK | W_OK) == 0; }

void Pair::give_cache(const std::string& host) {
    std::ofstream(view_of(host)).close();
    caches_[host] = std::make_unique<Process>(
        std::vector<std::string>{LOCKSTEP_HOST_CACHE, shared + "/toy", view_of(host)},
        folder + "/log." + host);
    wait_for("host " + host + " has a cache", [&] {
        std::error_code failed;
        return std::filesystem::file_size(view_of(host), failed) > 0 && !failed;
    });
}

/// What runs on a host with a cache of its own finds the host's view where the shared disk is.
std::vector<std::string> Pair::on_host(const std::string& host, std::vector<std::string> command) const {
    if (!caches_.contains(host)) return command;
    std::vector<std::string> whole = {"/usr/bin/unshare",
                                      "--mount",
                                      "/bin/sh",
                                      "-c",
                                      "mount --bind \"$0\" \"$1\" && shift && exec \"$@\"",
                                      view_of(host),
                                      shared + "/toy"};
    whole.insert(whole.end(), command.begin(), command.end());
    return whole;
}

void Pair::kill_host(const std::string& host) {
    signal(host, SIGKILL);
    kill_daemon(host);
    caches_.erase(host);
}

/// Host A is where the cluster was begun; B joins without its daemon.
void Pair::make_cluster() const {
    uint64_t now_s = host::date_s();
    std::string authority = security_of("a").folder;
    EXPECT_TRUE(host::begin_cluster(authority, "host-a", {address("a")}, now_s).ok());
    host::Identity joined = host::load_identity(authority).take();
    joined.key = host::make_key().take();
    joined.own = host::issue_certificate(authority, *joined.key, "host-b", now_s, {"127.0.0.1"}).take();
    EXPECT_TRUE(host::write_identity(security_of("b").folder, joined).ok());
    EXPECT_TRUE(host::write_authority_addresses(security_of("b").folder, {address("a")}).ok());
}

/// The beginning of a command on a host.
std::vector<std::string> Pair::program_of(const std::string& host, const std::string& program) const {
    std::vector<std::string> words = {"/usr/bin/env", "LOCKSTEP_CONFIG=" + runtime(host)};
    if (security_ == Security::kInsecure) words.emplace_back("LOCKSTEP_INSECURE=1");
    words.push_back(program);
    return words;
}

void Pair::start_daemon(const std::string& host, const std::string& program) {
    std::vector<std::string> command = program_of(host, program);
    for (const char* word : {"serve", "--listen"}) command.emplace_back(word);
    command.push_back("127.0.0.1:" + std::to_string(ports_[host].number()));
    command.insert(command.end(), {"--runtime", runtime(host)});
    daemons_[host] = std::make_unique<Process>(on_host(host, command), folder + "/log." + host);
}

void Pair::allow(const std::string& host, const std::string& lines) const {
    std::ofstream(runtime(host) + "/host.toml") << "[host]\nrecordings = \"" << folder << "\"\n[allow]\n"
                                                << lines;
}

void Pair::configure(const std::string& vm) {
    std::string disk = shared + "/" + vm;
    std::ofstream(disk).close();
    std::filesystem::resize_file(disk, 64 * 512);
    std::ofstream(folder + "/" + vm + ".toml") << fmt::format(
        "[vm]\nname = \"{}\"\nkernel = \"/dev/null\"\nmemory = \"64 MiB\"\n"
        "[[disk]]\npath = \"{}\"\nshared = true\n"
        "[protection]\nhosts = [\"{}\", \"{}\"]\narbiter = \"shared/arbiter\"\nhash_ms = 50\n"
        // A machine that is slow, or does other things, is no failure.
        "heartbeat_ms = 100\nfailure_ms = 800\n",
        vm, disk, address("a"), address("b"));
}

Pair::~Pair() {
    if (::testing::Test::HasFailure()) show_logs();
    for (const char* host : {"a", "b"})
        for (const std::string& vm : host::RuntimeFolder::running(runtime(host)))
            if (pid_t running = process(host, vm); running > 0) ::kill(running, SIGKILL);
    vm_.reset();
    daemons_.clear();
    caches_.clear();
    for (const char* host : {"a", "b"}) ::umount2(view_of(host).c_str(), MNT_DETACH);
    std::error_code ignored;
    std::filesystem::remove_all(folder, ignored);
}

std::string Pair::address(const std::string& host) const {
    uint16_t port = host == "b" && proxy_ ? proxy_->port() : ports_.at(host).number();
    return "127.0.0.1:" + std::to_string(port);
}

std::unique_ptr<Process> Pair::start_vm(const std::string& host, const std::string& vm,
                                        const std::vector<std::string>& options) {
    std::vector<std::string> command = program_of(host, LOCKSTEP_TOY);
    command.insert(command.end(),
                   {"run", folder + "/" + vm + ".toml", "--host", address(host), "--runtime", runtime(host)});
    command.insert(command.end(), options.begin(), options.end());
    return std::make_unique<Process>(on_host(host, command), folder + "/log." + host);
}

void Pair::start() {
    vm_ = start_vm("a");
    wait_for_state("a", "Protected");
    wait_for_state("b", "Replaying");
}

Json Pair::act(const std::string& host, const Json& request, const std::string& vm) const {
    auto answer = host::control_request(runtime(host) + "/" + vm + "/control", request, 2'000'000'000);
    return answer ? answer.value() : Json{{"error", answer.error().message()}};
}

Json Pair::status(const std::string& host, const std::string& vm) const {
    if (process(host, vm) == 0) return Json::object();
    return act(host, {{"action", "status"}}, vm);
}

std::string Pair::state(const std::string& host, const std::string& vm) const {
    Json found = status(host, vm);
    return found.is_object() ? found.value("state", "") : "";
}

pid_t Pair::process(const std::string& host, const std::string& vm) const {
    return host::RuntimeFolder::process_of(runtime(host), vm);
}

void Pair::signal(const std::string& host, int number, const std::string& vm) const {
    pid_t receiver = process(host, vm);
    // 0 would be all that the test was started with.
    ASSERT_GT(receiver, 0) << "VM " << vm << " doesn't run on host " << host;
    ::kill(receiver, number);
}

void Pair::type(const std::string& host, const std::string& text) const {
    host::FileDescriptor socket = connect_unix(runtime(host) + "/toy/console");
    EXPECT_EQ(::send(socket.get(), text.data(), text.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(text.size()));
    sleep_ms(100);  // a client that leaves at once may leave its bytes unread
}

void Pair::wait_for(const std::string& what, const std::function<bool()>& true_now, unsigned timeout_ms) {
    auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(timeout_ms);
    while (std::chrono::steady_clock::now() < end) {
        if (true_now()) return;
        sleep_ms(kPollMs);
    }
    FAIL() << "waited in vain for: " << what << "\na: " << status("a").dump()
           << "\nb: " << status("b").dump();
}

void Pair::wait_for_one_owner() {
    auto owns = [&](const char* host) {
        std::string role = status(host).value("role", "");
        return role == "solo" || role == "primary";
    };
    wait_for("one host owns the VM", [&] { return owns("a") || owns("b"); });
    sleep_ms(300);
    EXPECT_NE(owns("a"), owns("b")) << "both own the VM";
}

void Pair::wait_for_state(const std::string& host, const std::string& wanted, const std::string& vm) {
    wait_for(host + " is " + wanted, [&] { return state(host, vm) == wanted; });
}

int Pair::checked_lines(const std::string& host, const std::string& vm) {
    std::istringstream lines(console(host, vm));
    std::string line;
    int expected = -1;
    while (std::getline(lines, line) && !lines.eof()) {
        if (line.empty() || line.find_first_not_of("0123456789") != std::string::npos) continue;
        int number = std::stoi(line);
        if (expected >= 0) {
            EXPECT_EQ(number, expected) << "on host " << host;
        }
        expected = number + 1;
    }
    return expected - 1;
}

void Pair::check_disk() {
    std::ifstream disk(shared + "/toy", std::ios::binary);
    std::vector<uint64_t> numbers(64);
    std::vector<char> sector(512);
    uint64_t newest = 0;
    for (uint64_t& number : numbers) {
        disk.read(sector.data(), 512);
        std::memcpy(&number, sector.data(), 8);
        newest = std::max(newest, number);
    }
    ASSERT_GT(newest, 10u);
    for (uint64_t i = 0; i < numbers.size(); ++i) {
        uint64_t wanted = newest - (newest - i) % numbers.size();
        if (newest < i) wanted = 0;
        if (wanted != 0 && wanted <= newest) {
            EXPECT_EQ(numbers[i], wanted) << "sector " << i << ", newest " << newest;
        }
    }
}

void Pair::show_logs() const {
    for (const char* host : {"a", "b"})
        std::cerr << "--- log of host " << host << "\n"
                  << std::ifstream(folder + "/log." + host).rdbuf() << "\n";
}

void expect_goes_on(Pair& pair, const std::string& host, int line) {
    pair.wait_for("host " + host + " prints on", [&] { return pair.checked_lines(host) > line + 5; });
}

}  // namespace lockstep::vmm::testing
