// SPDX-License-Identifier: Apache-2.0
// lockstep cluster: the hosts that trust each other.
#include "host/authority_folder.h"
#include "host/clock.h"
#include "host/sockets.h"
#include "lockstep/commands.h"
#include "vmm/cluster_exchange.h"

namespace lockstep {

namespace {

struct ClusterOptions {
    std::string folder = host::cluster_folder();
    std::string name;
    std::vector<std::string> addresses;
    std::string token;
    uint64_t hours = 24;
};

void begin(const ClusterOptions& options) {
    for (const std::string& address : options.addresses) value_or_leave(host::SocketAddress::parse(address));
    value_or_leave(host::begin_cluster(options.folder, options.name, options.addresses, host::date_s()));
    fmt::print(
        "The cluster was begun, with this host as {}.\n"
        "Keep a copy of {}/authority.key in a safe place: it lets hosts in.\n"
        "Next, here:          lockstep serve --listen {}\n"
        "Then for each host:  lockstep cluster token NAME, and there lockstep cluster join TOKEN\n",
        options.name, options.folder, options.addresses.front());
}

void make_token(const ClusterOptions& options) {
    uint64_t until_s = host::date_s() + options.hours * 3600;
    host::JoinToken token = value_or_leave(host::issue_token(options.folder, options.name, until_s));
    fmt::print("{}\n", host::token_text(token));
    fmt::print(stderr, "good once, for {} hours: on {} run `lockstep cluster join` with it\n", options.hours,
               options.name);
}

void join(const ClusterOptions& options) {
    host::JoinToken token = value_or_leave(host::parse_token(options.token));
    auto loop = value_or_leave(host::EventLoop::create());
    value_or_leave(vmm::join_cluster(*loop, options.folder, token));
    fmt::print("This host is in the cluster now, as {}.\nNext, here:  lockstep serve --listen ADDRESS:PORT\n",
               token.name);
}

void remove(const ClusterOptions& options) {
    value_or_leave(host::remove_host(options.folder, options.name, host::date_s()));
    fmt::print("{} is in the cluster no more; the daemons of the others know it within a minute or two\n",
               options.name);
}

void show(const ClusterOptions& options) {
    host::Identity identity = value_or_leave(host::load_identity(options.folder));
    host::Validity validity = host::validity_of(*identity.own);
    fmt::print("this host is {}; its certificate is good until {}\n", identity.name(),
               host::date_text(validity.until_s));
    if (!host::is_authority(options.folder)) {
        for (const std::string& address : value_or_leave(host::authority_addresses(options.folder)))
            fmt::print("the cluster was begun on the host at {}\n", address);
        return;
    }
    fmt::print("the cluster was begun here; certificates were given to\n");
    for (const host::IssuedCertificate& one : value_or_leave(host::issued_certificates(options.folder)))
        fmt::print("    {:20} until {}  {}\n", one.name, one.until, one.serial);
}

}  // namespace

void add_cluster_commands(CLI::App& program) {
    auto options = std::make_shared<ClusterOptions>();
    options->name = host::own_name();
    CLI::App* cluster = program.add_subcommand("cluster", "The hosts that trust each other");
    cluster->require_subcommand(1);

    CLI::App* begins = cluster->add_subcommand("init", "Begin a cluster with this host");
    begins
        ->add_option("--address", options->addresses,
                     "address:port of this host's daemon, as others reach it")
        ->required();
    begins->add_option("--name", options->name, "this host's name in the cluster (its own)");
    begins->callback([options] { begin(*options); });

    CLI::App* token = cluster->add_subcommand("token", "Make what lets another host join, once");
    token->add_option("host", options->name, "the name of that host in the cluster")->required();
    token->add_option("--hours", options->hours, "how long it is good (24)")->check(CLI::Range(1, 24 * 30));
    token->callback([options] { make_token(*options); });

    CLI::App* joins = cluster->add_subcommand("join", "Make this host one of a cluster");
    joins->add_option("token", options->token, "what `lockstep cluster token` printed there")->required();
    joins->callback([options] { join(*options); });

    CLI::App* removes = cluster->add_subcommand("remove", "Take a host's certificates back");
    removes->add_option("host", options->name, "its name in the cluster")->required();
    removes->callback([options] { remove(*options); });

    CLI::App* shows = cluster->add_subcommand("show", "Show this host's identity, and who was let in");
    shows->callback([options] { show(*options); });
}

}  // namespace lockstep
