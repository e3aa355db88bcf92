// SPDX-License-Identifier: Apache-2.0
// lockstep api: the API of this host, for people and programs.
#include <csignal>

#include "api/server.h"
#include "base/log.h"
#include "control/host_config.h"
#include "host/limits.h"
#include "host/runtime_folder.h"
#include "host/signals.h"
#include "lockstep/commands.h"

namespace lockstep {

namespace {

struct ApiOptions {
    std::string listen;
    std::string runtime;
    vmm::LinkSecurity security;
};

/// The command line's, else the host's.
std::string listen_address(const ApiOptions& options) {
    if (!options.listen.empty()) return options.listen;
    control::HostConfig config = value_or_leave(control::load_host_config());
    if (config.api_listen.empty())
        leave_with(
            kUsage,
            fmt::format("say where the API is to listen, by `--listen` or by the key listen of [api] in {}",
                        config.allowances.file));
    return config.api_listen;
}

void serve_api(const ApiOptions& options) {
    std::string listen = listen_address(options);
    host::allow_many_files();
    value_or_leave(host::make_runtime_base(options.runtime));
    auto loop = value_or_leave(host::EventLoop::create());
    host::SignalSource signals(*loop, {SIGINT, SIGTERM, SIGHUP}, [&](int) { loop->stop(); });
    auto server = value_or_leave(api::Server::create(
        *loop, {.listen = listen, .runtime_base = options.runtime, .security = options.security}));
    bool insecure = options.security.kind == vmm::Security::kInsecure;
    if (insecure)
        log_warning("INSECURE: whoever reaches {} may do everything; leave `--insecure` to laboratories",
                    server->address().text());
    log_info("the API is at {}://{}/", insecure ? "http" : "https", server->address().text());
    loop->run();
}

}  // namespace

void add_api_command(CLI::App& program) {
    auto options = std::make_shared<ApiOptions>();
    CLI::App* command = program.add_subcommand("api", "Serve this host's API and page");
    command->add_option("--listen", options->listen, "address:port (as host.toml says)");
    add_security_options(*command, options->security);
    add_runtime_option(*command, options->runtime);
    command->callback([options] { serve_api(*options); });
}

}  // namespace lockstep
