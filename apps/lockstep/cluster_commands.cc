// SPDX-License-Identifier: Apache-2.0
// lockstep cluster: the hosts that trust each other.
#include "control/problem.h"
#include "host/authority_folder.h"
#include "host/clock.h"
#include "host/files.h"
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
    std::string role;
    std::string out = ".";
    uint64_t hours = 24;
    bool json = false;
};

/// Prints what was done: an object for programs, or text for people.
void answer(const ClusterOptions& options, const control::Json& object, const std::string& text) {
    fmt::print("{}", options.json ? object.dump() + "\n" : text);
}

void begin(const ClusterOptions& options) {
    for (const std::string& address : options.addresses) value_or_leave(host::SocketAddress::parse(address));
    value_or_leave(host::begin_cluster(options.folder, options.name, options.addresses, host::date_s()));
    answer(options, {{"host", options.name}, {"folder", options.folder}, {"addresses", options.addresses}},
           fmt::format(
               "The cluster was begun, with this host as {}.\n"
               "Keep a copy of {}/authority.key in a safe place: it lets hosts in.\n"
               "Next, here:          lockstep serve --listen {}\n"
               "Then for each host:  lockstep cluster token NAME, and there lockstep cluster join TOKEN\n",
               options.name, options.folder, options.addresses.front()));
}

void make_token(const ClusterOptions& options) {
    uint64_t until_s = host::date_s() + options.hours * 3600;
    host::JoinToken token = value_or_leave(host::issue_token(options.folder, options.name, until_s));
    answer(options, {{"token", host::token_text(token)}, {"host", options.name}, {"until_s", until_s}},
           host::token_text(token) + "\n");
    fmt::print(stderr, "good once, for {} hours: on {} run `lockstep cluster join` with it\n", options.hours,
               options.name);
}

void join(const ClusterOptions& options) {
    host::JoinToken token = value_or_leave(host::parse_token(options.token));
    auto loop = value_or_leave(host::EventLoop::create());
    value_or_leave(vmm::join_cluster(*loop, options.folder, token));
    answer(options, {{"host", token.name}, {"addresses", token.addresses}},
           fmt::format("This host is in the cluster now, as {}.\nNext, here:  lockstep serve --listen "
                       "ADDRESS:PORT\n",
                       token.name));
}

void remove(const ClusterOptions& options) {
    value_or_leave(host::remove_host(options.folder, options.name, host::date_s()));
    answer(options, {{"removed", options.name}},
           fmt::format("{} is in the cluster no more; the daemons of the others know it within a minute or "
                       "two\n",
                       options.name));
}

void let_person_in(const ClusterOptions& options) {
    host::Role role = *host::find_role(options.role);
    host::PersonsCertificate issued =
        value_or_leave(host::issue_to_person(options.folder, options.name, role, host::date_s()));
    Bytes pem = host::pem_of(*issued.key);
    Bytes certificate = host::pem_of(*issued.certificate);
    pem.insert(pem.end(), certificate.begin(), certificate.end());
    std::string path = fmt::format("{}/{}.pem", options.out, options.name);
    value_or_leave(host::write_secret_file(path, pem));
    std::string until = host::date_text(host::validity_of(*issued.certificate).until_s);
    answer(options, {{"user", options.name}, {"role", options.role}, {"file", path}, {"until", until}},
           fmt::format("{} is {}'s certificate, good until {} for the role {}, with the key: as secret as a "
                       "password.\n"
                       "By curl:      curl --cert {} --cacert {}/authority.crt https://HOST:PORT/v1/vms\n"
                       "By a browser: import what `openssl pkcs12 -export -in {} -out {}.p12` makes\n"
                       "Take it back by `lockstep cluster remove {}`\n",
                       path, options.name, until, options.role, path, options.folder, path, options.name,
                       host::listed_name_of_person(options.name)));
}

control::Json identity_json(const host::Identity& identity, const ClusterOptions& options) {
    control::Json json = {{"host", identity.name()},
                          {"until", host::date_text(host::validity_of(*identity.own).until_s)},
                          {"authority", host::is_authority(options.folder)},
                          {"addresses", value_or_leave(host::authority_addresses(options.folder))},
                          {"issued", control::Json::array()}};
    if (!host::is_authority(options.folder)) return json;
    for (const host::IssuedCertificate& one : value_or_leave(host::issued_certificates(options.folder)))
        json["issued"].push_back({{"name", one.name}, {"until", one.until}, {"serial", one.serial}});
    return json;
}

void show(const ClusterOptions& options) {
    host::Identity identity = value_or_leave(host::load_identity(options.folder));
    control::Json json = identity_json(identity, options);
    auto text_in = [](const control::Json& object, const char* key) {
        return object[key].get<std::string>();
    };
    std::string text = fmt::format("this host is {}; its certificate is good until {}\n",
                                   text_in(json, "host"), text_in(json, "until"));
    bool begun_here = json["authority"].get<bool>();
    if (begun_here) text += "the cluster was begun here; certificates were given to\n";
    for (const control::Json& one : json["issued"])
        text += fmt::format("    {:20} until {}  {}\n", text_in(one, "name"), text_in(one, "until"),
                            text_in(one, "serial"));
    for (const control::Json& address : json["addresses"])
        if (!begun_here)
            text += fmt::format("the cluster was begun on the host at {}\n", address.get<std::string>());
    answer(options, json, text);
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

    CLI::App* user = cluster->add_subcommand("user", "Give a person a certificate for the API");
    user->add_option("name", options->name, "the person's name")->required();
    std::vector<std::string> roles;
    for (const host::RoleRow& row : host::kRoles) roles.emplace_back(row.name);
    user->add_option("--role", options->role, "what the person may do: viewer, operator or admin")
        ->required()
        ->check(CLI::IsMember(roles));
    user->add_option("--out", options->out, "the folder to write NAME.pem to (this one)");
    user->callback([options] { let_person_in(*options); });

    CLI::App* removes = cluster->add_subcommand("remove", "Take the certificates of a host or person back");
    removes->add_option("host", options->name, "its name in the cluster; user/NAME for a person")->required();
    removes->callback([options] { remove(*options); });

    CLI::App* shows = cluster->add_subcommand("show", "Show this host's identity, and who was let in");
    shows->callback([options] { show(*options); });

    for (CLI::App* command : {begins, token, joins, user, removes, shows})
        add_json_option(*command, options->json);
}

}  // namespace lockstep
