// SPDX-License-Identifier: Apache-2.0
#include "vmm/host_daemon.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstring>

#include "base/foreign_text.h"
#include "base/log.h"
#include "host/control_socket.h"
#include "host/evacuation.h"
#include "host/host_cpu.h"
#include "host/hung_process.h"
#include "host/identity.h"
#include "host/runtime_folder.h"
#include "host/sockets.h"
#include "host/spawn.h"
#include "host/systemd_scope.h"
#include "host/term_lease.h"

namespace lockstep::vmm {

namespace {

constexpr int kConnectionDescriptor = 3;
constexpr int kStrangerDescriptor = 4;
/// Of those who haven't introduced themselves, of one host and in all. An owner does so at once.
constexpr size_t kMostStrangersOfAPeer = 4;
constexpr size_t kMostStrangers = 32;
constexpr size_t kMostWaitingOfAPeer = 32;
constexpr size_t kMostWaiting = 256;
constexpr uint8_t kTlsHandshakeRecord = 22;  // RFC 8446, 5.1: how a client begins
constexpr uint64_t kIntroductionTimeoutNs = 10 * host::kNsPerSecond;
/// A process whose stranger hasn't introduced himself ends by itself before; it has no VM yet.
constexpr uint64_t kStrangerTimeoutNs = 12 * host::kNsPerSecond;
constexpr uint64_t kStatusTimeoutNs = 300 * host::kNsPerMs;
constexpr uint64_t kLookTimeoutNs = 500 * host::kNsPerMs;

/// The address without its port.
std::string host_of(const host::FileDescriptor& connection) {
    std::string address = host::peer_address(connection.get()).text();
    return address.substr(0, address.rfind(':'));
}

/// Whether the VM process that owns a control socket is only starting, and so owns nothing yet: two starts at the
/// same moment must not turn each other away. One that doesn't answer may be an owner that hangs.
bool only_starts(const std::string& control_socket) {
    if (::access(control_socket.c_str(), F_OK) != 0) return true;
    auto status = host::control_request(control_socket, {{"action", "status"}}, kStatusTimeoutNs);
    return status.ok() && status.value().value("role", "") == "starting";
}

}  // namespace

// --- The daemon ---

Result<std::unique_ptr<HostDaemon>> HostDaemon::create(host::EventLoop& loop, const DaemonOptions& options) {
    std::unique_ptr<HostDaemon> daemon(new HostDaemon(loop, options));
    if (options.security.kind == Security::kTls) {
        TRY(host::load_identity(options.security.folder));
        daemon->identity_keeper_ = std::make_unique<IdentityKeeper>(loop, options.security.folder);
    }
    host::SocketAddress at = TRY(host::SocketAddress::parse(options.listen));
    daemon->acceptor_ = std::make_unique<host::Acceptor>(
        loop, TRY(host::listen_at(at)),
        [raw = daemon.get()](host::FileDescriptor connection) { raw->accept(std::move(connection)); });
    return daemon;
}

host::SocketAddress HostDaemon::address() const { return host::local_address(acceptor_->descriptor()); }

void HostDaemon::accept(host::FileDescriptor connection) {
    std::string peer = host_of(connection);
    if (!make_room_for(peer)) return log_debug("{} has connected too often", peer);
    auto waiting = waiting_.emplace(waiting_.end());
    waiting->peer = peer;
    waiting->connection = std::move(connection);
    waiting->watch =
        loop_.watch(waiting->connection.get(), host::Interest::kRead, [this, waiting](host::Ready) {
            waiting->speaks = true;
            waiting->watch.set_interest(host::Interest::kNone);
            admit_waiting();
        });
    waiting->timeout = loop_.call_after(kIntroductionTimeoutNs, [this, waiting] { waiting_.erase(waiting); });
}

/// The longest silence makes room, of the same peer where he has many: an owner that connects is silent only shortly.
bool HostDaemon::make_room_for(const std::string& peer) {
    auto of_peer = [&peer](const Waiting& waiting) { return waiting.peer == peer; };
    bool has_many = std::ranges::count_if(waiting_, of_peer) >= static_cast<ptrdiff_t>(kMostWaitingOfAPeer);
    if (!has_many && waiting_.size() < kMostWaiting) return true;
    auto silent = std::ranges::find_if(
        waiting_, [&](const Waiting& waiting) { return !waiting.speaks && (!has_many || of_peer(waiting)); });
    if (silent == waiting_.end()) return false;
    waiting_.erase(silent);
    return true;
}

void HostDaemon::admit_waiting() {
    for (auto next = waiting_.begin(); next != waiting_.end();) {
        if (!next->speaks || !admits(next->peer)) {
            ++next;
            continue;
        }
        start_process(next->peer, next->connection);
        next = waiting_.erase(next);
    }
}

void HostDaemon::start_process(const std::string& peer, const host::FileDescriptor& connection) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0)
        return log_error("cannot make a pipe: {}; raise the limit of open files", std::strerror(errno));
    host::FileDescriptor told(ends[0]), stranger(ends[1]);
    std::vector<std::string> arguments = {"lockstep",     "backup",
                                          "--connection", std::to_string(kConnectionDescriptor),
                                          "--stranger",   std::to_string(kStrangerDescriptor),
                                          "--host",       address().text(),
                                          "--runtime",    options_.runtime_base};
    if (options_.security.kind == Security::kInsecure) arguments.emplace_back("--insecure");
    // A session of its own; the connection, and what it closes after the introduction.
    Result<pid_t> process = host::spawn_self(
        arguments, {{connection.get(), kConnectionDescriptor}, {stranger.get(), kStrangerDescriptor}});
    if (!process) return log_error("no backup for {}: {}", peer, process.error().message());
    log_debug("process {} talks to {}", process.value(), host::peer_address(connection.get()).text());
    add_stranger(peer, std::move(told), process.value());
}

bool HostDaemon::admits(const std::string& peer) const {
    size_t all = 0, of_peer = 0;
    for (const auto& [number, stranger] : strangers_) {
        if (stranger.introduced) continue;
        ++all;
        of_peer += stranger.peer == peer;
    }
    return all < kMostStrangers && of_peer < kMostStrangersOfAPeer;
}

void HostDaemon::add_stranger(const std::string& peer, host::FileDescriptor told, pid_t process) {
    uint64_t number = next_stranger_++;
    Stranger& stranger = strangers_[number];
    stranger.peer = peer;
    stranger.told = std::move(told);
    stranger.process = host::ProcessHandle::open(process);
    stranger.timeout = loop_.call_after(kStrangerTimeoutNs, [&stranger] {
        if (!stranger.process || !stranger.process->signal(SIGKILL)) return;
        log_warning("process {}, which {} connected to, hangs and was ended", stranger.process->number(),
                    stranger.peer);
    });
    stranger.watch = loop_.watch(stranger.told.get(), host::Interest::kRead, [this, number](host::Ready) {
        loop_.post([this, number] { hear(number); });
    });
}

void HostDaemon::hear(uint64_t number) {
    auto found = strangers_.find(number);
    if (found == strangers_.end()) return;
    Stranger& stranger = found->second;
    char text[512];
    ssize_t size = ::read(stranger.told.get(), text, sizeof text);
    if (size < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (size > 0) {
        stranger.timeout.reset();
        stranger.complaint.append(text + !stranger.introduced,
                                  static_cast<size_t>(size) - !stranger.introduced);
        stranger.introduced = true;
    } else {
        if (!stranger.complaint.empty())
            complain(fmt::format("{} was refused: {}", stranger.peer, stranger.complaint));
        strangers_.erase(found);
    }
    admit_waiting();
}

void HostDaemon::complain(const std::string& sentence) {
    if (auto said = complaints_.hear(sentence, loop_.now_ns())) log_warning("{}", *said);
}

void HostDaemon::collect_children() {
    int status = 0;
    while (pid_t process = ::waitpid(-1, &status, WNOHANG)) {
        if (process < 0) return;
        if (WIFSIGNALED(status)) log_warning("process {} was ended by signal {}", process, WTERMSIG(status));
    }
}

// --- The process of a backup ---

BackupProcess::BackupProcess(host::EventLoop& loop, MachineFactory& factory, const Environment& environment,
                             VmProcess::Ended ended, std::function<void(VmProcess&)> started)
    : loop_(loop),
      factory_(factory),
      environment_(environment),
      ended_(std::move(ended)),
      started_(std::move(started)) {}

Result<std::unique_ptr<BackupProcess>> BackupProcess::create(host::EventLoop& loop, MachineFactory& factory,
                                                             host::FileDescriptor connection,
                                                             host::FileDescriptor stranger,
                                                             const Environment& environment,
                                                             VmProcess::Ended ended,
                                                             std::function<void(VmProcess&)> started) {
    ::fcntl(connection.get(), F_SETFD, FD_CLOEXEC);
    ::fcntl(stranger.get(), F_SETFD, FD_CLOEXEC);
    ::fcntl(connection.get(), F_SETFL, ::fcntl(connection.get(), F_GETFL) | O_NONBLOCK);
    std::unique_ptr<BackupProcess> process(
        new BackupProcess(loop, factory, environment, std::move(ended), std::move(started)));
    process->stranger_ = std::move(stranger);
    process->timeout_ = loop.call_after(kIntroductionTimeoutNs, [raw = process.get()] {
        raw->end(Ending::Kind::kDismissed, "whoever connected didn't introduce itself");
    });
    TRY(process->open(std::move(connection)));
    return process;
}

Result<void> BackupProcess::open(host::FileDescriptor connection) {
    if (environment_.security.kind == Security::kInsecure)
        return wait_for_introduction(host::make_channel(loop_, std::move(connection), link_options()),
                                     std::nullopt);
    uint8_t first = 0;
    bool in_clear = ::recv(connection.get(), &first, 1, MSG_PEEK) == 1 && first != kTlsHandshakeRecord;
    if (!in_clear) return shake_hands(std::move(connection));
    link_ = TRY(PairLink::create(loop_, host::make_channel(loop_, std::move(connection), link_options()),
                                 std::nullopt));
    tell_daemon("i");
    refuse(
        fmt::format("the host {} takes links by TLS alone; join its cluster, and start without `--insecure`",
                    environment_.this_host));
    return {};
}

Result<void> BackupProcess::shake_hands(host::FileDescriptor connection) {
    host::Identity identity = TRY(host::load_identity(environment_.security.folder));
    host::Tls tls = TRY(host::tls_server(identity));
    host::SocketAddress peer = host::peer_address(connection.get());
    handshake_ = std::make_unique<host::TlsHandshake>(
        loop_, host::make_tcp_stream(std::move(connection), link_options()), std::move(tls),
        [this, peer](Result<host::SecuredStream> stream) {
            if (stream) return secured(stream.take(), peer);
            tell_daemon("i");
            tell_daemon(foreign_text(stream.error().message()));
            end(Ending::Kind::kDismissed, stream.error().message());
        });
    return {};
}

void BackupProcess::secured(host::SecuredStream stream, const host::SocketAddress& peer) {
    auto channel =
        std::make_unique<host::Channel>(loop_, std::move(stream.stream), peer.text(), link_options());
    if (stream.purpose == host::TlsPurpose::kCluster)
        return wait_for_cluster_request(std::move(channel), stream.peer_name, peer.ip_text());
    if (Result<void> waits = wait_for_introduction(std::move(channel), stream.datagram_keys); !waits)
        end(Ending::Kind::kDismissed, waits.error().message());
}

Result<void> BackupProcess::wait_for_introduction(std::unique_ptr<host::Channel> channel,
                                                  const std::optional<host::DatagramKeys>& keys) {
    link_ = TRY(PairLink::create(loop_, std::move(channel), keys));
    link_->set_handlers({.message = [this](ByteSpan frame) { introduced(frame); },
                         .datagram = {},
                         .closed = [this](host::CloseCause,
                                          const Error& why) { end(Ending::Kind::kDismissed, why.message()); },
                         .drained = {}});
    return {};
}

/// `member`: the name of the host that asks; empty: it is none yet.
void BackupProcess::wait_for_cluster_request(std::unique_ptr<host::Channel> channel,
                                             const std::string& member, const std::string& ip) {
    cluster_channel_ = std::move(channel);
    auto answer = [this, member, ip](ByteSpan frame) {
        ClusterAnswer content =
            answer_cluster_request(environment_.security.folder, member, frame, host::date_s(), ip);
        tell_daemon("i");
        if (!content.accepted) tell_daemon(foreign_text(content.sentence));
        cluster_channel_->send(encode_cluster_answer(content));
        cluster_channel_->close_after_sending(
            [this] { end(Ending::Kind::kDismissed, "the cluster's question is answered"); });
    };
    cluster_channel_->set_handlers(
        {.frame = answer,
         .closed = [this](host::CloseCause,
                          const Error& why) { end(Ending::Kind::kDismissed, why.message()); },
         .drained = {}});
}

void BackupProcess::introduced(ByteSpan frame) {
    timeout_.reset();
    tell_daemon("i");
    Result<Introduction> introduction = decode_introduction(frame);
    if (!introduction) return refuse(introduction.error().message());
    const Introduction& wanted = introduction.value();
    if (wanted.purpose == Purpose::kProtect) return serve(wanted);
    // The name becomes a part of a path.
    if (Result<void> good = host::check_vm_name(wanted.vm_name); !good) return refuse(good.error().message());
    pid_t process = host::RuntimeFolder::process_of(environment_.runtime_base, wanted.vm_name);
    if (process == 0 ||
        only_starts(host::RuntimeFolder::control_socket_of(environment_.runtime_base, wanted.vm_name)))
        return answer(
            {.accepted = false, .sentence = fmt::format("VM {} doesn't run there", wanted.vm_name)});
    answer({.accepted = true, .sentence = fmt::format("process {}", process), .udp_port = link_->udp_port()});
}

void BackupProcess::tell_daemon(std::string_view text) {
    // It may have ended meanwhile.
    if (::write(stranger_.get(), text.data(), text.size()) < 0) log_debug("the daemon listens no more");
}

/// Says it, and ends. The sentence may quote what the other side sent.
void BackupProcess::answer(Answer content) {
    content.sentence = foreign_text(content.sentence);
    link_->send(encode_answer(content));
    link_->close([this, content] { end(Ending::Kind::kDismissed, content.sentence); });
}

void BackupProcess::refuse(const std::string& sentence) {
    tell_daemon(foreign_text(sentence));
    answer({.accepted = false, .sentence = sentence});
}

void BackupProcess::serve(const Introduction& introduction) {
    Result<std::string> own_build = own_build_text();
    if (own_build.ok() && own_build.value() != introduction.build)
        return refuse(
            fmt::format("the host {} runs another build ({}) than the owner of VM {} ({}); "
                        "install the same build on both",
                        environment_.this_host, own_build.value(), introduction.vm_name, introduction.build));
    if (host::is_evacuated(environment_.runtime_base))
        return refuse(
            fmt::format("the host {} is evacuated and takes no backups until `lockstep host restore` there",
                        environment_.this_host));
    auto cannot = [&](const std::string& why) {
        refuse(fmt::format("the host {} can't take the backup of VM {}: {}", environment_.this_host,
                           introduction.vm_name, why));
    };
    if (std::string reason = record::difference(introduction.cpu, host::host_cpu_identity()); !reason.empty())
        return cannot(reason);
    Result<std::unique_ptr<VmProcess>> vm = start(introduction);
    if (!vm) return cannot(vm.error().message());
    vm_ = vm.take();
    stranger_.reset();
    started_(*vm_);
}

/// By the arbiter of the process itself whoever asks owns the VM, and he asks now, so he has no backup. A process of an
/// older term can win none any more; one of this term was never armed, or the owner would have won another since.
Result<void> BackupProcess::prove_that_it_owns_nothing(const host::Claimant& process,
                                                       const Introduction& asker) const {
    host::TermLook look =
        host::look_in_folder_in_time(process.arbiter, asker.vm_name, Term(0), kLookTimeoutNs);
    if (!look.reachable) return Error(look.detail);
    bool is_asked_by_owner = look.latest != Term(0) && look.latest == asker.term &&
                             look.winner == asker.claimant && process.name != asker.claimant;
    if (!is_asked_by_owner)
        return error("the newest term, {}, was won by {}, not by who asks", look.latest.value(), look.winner);
    if (link_->is_closed_there()) return error("whoever wanted the backup has gone");
    return {};
}

Result<std::unique_ptr<VmProcess>> BackupProcess::start(const Introduction& introduction) {
    TRY(host::check_vm_name(introduction.vm_name));
    TRY(host::end_hung_process(
        environment_.runtime_base, introduction.vm_name,
        [&](const host::Claimant& process) { return prove_that_it_owns_nothing(process, introduction); }));
    host::enter_own_scope(introduction.vm_name);
    // The link goes over to the VM process only once that can serve.
    return VmProcess::start_backup(loop_, factory_, introduction, link_, environment_, ended_);
}

void BackupProcess::end(Ending::Kind kind, const std::string& sentence) {
    if (ended_) std::exchange(ended_, nullptr)({kind, sentence});
}

}  // namespace lockstep::vmm
