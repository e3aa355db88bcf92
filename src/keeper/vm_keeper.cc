// SPDX-License-Identifier: Apache-2.0
#include "keeper/vm_keeper.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstring>

#include "base/log.h"
#include "control/config.h"
#include "host/clock.h"
#include "host/evacuation.h"
#include "host/files.h"
#include "host/runtime_folder.h"
#include "host/spawn.h"

namespace lockstep::keeper {

namespace {

namespace fs = std::filesystem;
using host::Json;
using host::RuntimeFolder;

constexpr uint64_t kPeriodNs = host::kNsPerSecond;
constexpr uint64_t kLookPauseS = 5;  ///< between two looks at the arbiter for a VM that is elsewhere
constexpr uint64_t kLookTimeoutNs = 300 * host::kNsPerMs;
constexpr size_t kMostStartText = 16384;

std::string kept_folder(const std::string& base) { return base + "/.kept"; }

/// What a file of the kept ones holds; null for one that a daemon was about to write when it was killed: it has another name.
Json read_kept(const fs::path& path) {
    Result<std::string> text = host::read_text(path.string());
    Json json = text ? Json::parse(text.value(), nullptr, false) : Json();
    bool is_whole = json.is_object() && json.value("name", Json()) == path.filename().string();
    return is_whole ? json : Json();
}

void remove_unfinished(const std::string& folder) {
    std::error_code ignored;
    for (const auto& entry : fs::directory_iterator(folder, ignored))
        if (read_kept(entry.path()).is_null()) fs::remove(entry.path(), ignored);
}

/// The sentence that `lockstep run` has left its caller.
std::string start_failure(const std::string& text) {
    constexpr std::string_view kMark = "lockstep: ";
    size_t line = text.rfind(kMark);
    if (line == std::string::npos || (line > 0 && text[line - 1] != '\n'))
        return "its process ended while it was started";
    size_t from = line + kMark.size();
    return text.substr(from, text.find('\n', from) - from);
}

}  // namespace

Result<std::unique_ptr<VmKeeper>> VmKeeper::create(host::EventLoop& loop, const KeeperOptions& options) {
    TRY(host::make_folders(kept_folder(options.runtime_base)));
    remove_unfinished(kept_folder(options.runtime_base));
    std::unique_ptr<VmKeeper> keeper(new VmKeeper(loop, options));
    keeper->on_time();
    return keeper;
}

void VmKeeper::on_time() {
    read_folder();
    for (auto& [name, vm] : vms_) {
        look_after(name, vm);
        save(name, vm);
    }
    timer_ = loop_.call_after(kPeriodNs, [this] { on_time(); });
}

// --- The folder ---

void VmKeeper::read_folder() {
    std::error_code failed;
    std::vector<std::string> names;
    for (fs::directory_iterator next(options_.folder, failed); !failed && next != fs::directory_iterator();
         next.increment(failed))
        if (next->path().extension() == ".toml") names.push_back(next->path().stem().string());
    std::string complaint = failed && failed != std::errc::no_such_file_or_directory ? failed.message() : "";
    if (complaint != std::exchange(folder_complaint_, complaint) && !complaint.empty())
        log_error("cannot read the folder {}: {}; its VMs stay as they are", options_.folder, complaint);
    if (!complaint.empty()) return;
    for (const std::string& name : names) {
        auto [found, is_new] = vms_.try_emplace(name);
        read_file(name, found->second);
        if (is_new) meet(name, found->second);
    }
    std::erase_if(vms_, [&](auto& entry) {
        bool gone = std::ranges::find(names, entry.first) == names.end();
        std::error_code ignored;
        if (gone) fs::remove(RuntimeFolder::kept_file(options_.runtime_base, entry.first), ignored);
        return gone;
    });
}

void VmKeeper::read_file(const std::string& name, Vm& vm) {
    std::error_code failed;
    vm.file = options_.folder + "/" + name + ".toml";
    auto changed = fs::last_write_time(vm.file, failed);
    if (failed || changed == vm.changed) return;
    vm.changed = changed;
    Result<vmm::VmSettings> settings = control::load_config(vm.file);
    if (settings && settings.value().name != name)
        settings = error("{}: it is of a VM named {}; name the file {}.toml", vm.file, settings.value().name,
                         settings.value().name);
    vm.mistake = settings ? "" : settings.error().message();
    if (!settings) return log_error("{}", vm.mistake);
    vm.kept.set_rules(settings.value().start);
    const vmm::ProtectionSettings& protection = settings.value().protection;
    vm.arbiter = protection.arbiter;
    vm.names_this_host = std::ranges::find(protection.hosts, options_.own_address) != protection.hosts.end();
}

/// One that isn't known yet is new, or the host is.
void VmKeeper::meet(const std::string& name, Vm& vm) {
    Result<std::string> known = host::read_text(RuntimeFolder::kept_file(options_.runtime_base, name));
    Json json = known ? Json::parse(known.value(), nullptr, false) : Json();
    if (json.is_object())
        vm.kept.load(json);
    else if (vm.mistake.empty())
        vm.kept.on_host_started(host::date_s());
}

// --- Processes ---

void VmKeeper::look_after(const std::string& name, Vm& vm) {
    if (vm.start || vm.process || find_process(name, vm)) return;
    if (vm.kept.state() == State::kRunning || vm.kept.state() == State::kStarting)
        return process_ended(name, vm, "its process was killed, or broke off");
    look_at_arbiter(name, vm);
    if (vm.kept.start_is_due(host::date_s()) && !host::is_evacuated(options_.runtime_base))
        begin_start(name, vm);
}

/// Also of a process that was started by hand, or by an earlier daemon, or as a backup that has gone live since.
bool VmKeeper::find_process(const std::string& name, Vm& vm) {
    std::optional<host::ProcessHandle> process = RuntimeFolder::holder(options_.runtime_base, name);
    if (!process) return false;
    if (!RuntimeFolder::is_live(options_.runtime_base, name)) {
        if (!vm.arbiter.empty()) vm.kept.on_backup_seen(host::date_s());
        return true;
    }
    vm.kept.on_running(host::date_s());
    vm.process = std::move(process);
    vm.end_watch = loop_.watch(vm.process->descriptor(), host::Interest::kRead, [this, name](host::Ready) {
        loop_.post([this, name] {
            auto found = vms_.find(name);
            if (found == vms_.end() || !std::exchange(found->second.process, std::nullopt)) return;
            process_ended(name, found->second, "its process was killed, or broke off");
            save(name, found->second);
        });
        vms_.at(name).end_watch.reset();
    });
    return true;
}

void VmKeeper::process_ended(const std::string& name, Vm& vm, const std::string& otherwise) {
    std::string told = RuntimeFolder::take_ending(options_.runtime_base, name);
    size_t line_end = told.find('\n');
    End end = End::kFailed;
    std::string why = otherwise;
    if (line_end != std::string::npos) {
        end = end_of(told.substr(0, line_end));
        why = told.substr(line_end + 1);
    } else if (otherwise.starts_with("its process was")) {
        why += fmt::format("; see {}/{}.log", options_.runtime_base, name);
    }
    vm.kept.on_ended(end, why, host::date_s());
}

void VmKeeper::look_at_arbiter(const std::string& name, Vm& vm) {
    uint64_t now_s = host::date_s();
    uint64_t pause_s = vm.kept.state() == State::kElsewhere ? kLookPauseS : 1;
    if (vm.arbiter.empty() || !vm.kept.look_is_wanted() || now_s < vm.looked_s + pause_s) return;
    vm.looked_s = now_s;
    vm.kept.on_looked(host::look_in_folder_in_time(vm.arbiter, name, Term(0), kLookTimeoutNs), now_s);
}

// --- Starts ---

void VmKeeper::begin_start(const std::string& name, Vm& vm) {
    uint64_t now_s = host::date_s();
    RuntimeFolder::take_ending(options_.runtime_base, name);
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0)
        return vm.kept.on_ended(End::kFailed, fmt::format("cannot make a pipe: {}", std::strerror(errno)),
                                now_s);
    host::FileDescriptor output(ends[0]), told(ends[1]);
    std::vector<std::string> arguments = {"lockstep", "run", "--background", "--runtime",
                                          options_.runtime_base};
    arguments.insert(arguments.end(), options_.run_options.begin(), options_.run_options.end());
    if (vm.names_this_host) arguments.insert(arguments.end(), {"--host", options_.own_address});
    arguments.push_back(vm.file);
    Result<pid_t> process =
        host::spawn_self(arguments, {{told.get(), STDOUT_FILENO}, {told.get(), STDERR_FILENO}});
    std::optional<host::ProcessHandle> handle;
    if (process) handle = host::ProcessHandle::open(process.value());
    if (!handle)
        return vm.kept.on_ended(End::kFailed,
                                process ? "its process ended at once" : process.error().message(), now_s);
    vm.kept.on_start_begun(now_s);
    vm.start.emplace(Start{std::move(output), std::move(*handle)});
    vm.start->output_watch = loop_.watch(vm.start->output.get(), host::Interest::kRead,
                                         [this, name](host::Ready) { hear_start(name); });
    vm.start->end_watch =
        loop_.watch(vm.start->process.descriptor(), host::Interest::kRead,
                    [this, name](host::Ready) { loop_.post([this, name] { finish_start(name); }); });
}

void VmKeeper::hear_start(const std::string& name) {
    auto found = vms_.find(name);
    if (found == vms_.end() || !found->second.start) return;
    Start& start = *found->second.start;
    char text[4096];
    ssize_t size = ::read(start.output.get(), text, sizeof text);
    if (size == 0) start.output_watch.reset();
    if (size > 0 && start.text.size() < kMostStartText) start.text.append(text, static_cast<size_t>(size));
}

void VmKeeper::finish_start(const std::string& name) {
    auto found = vms_.find(name);
    if (found == vms_.end() || !found->second.start) return;
    Vm& vm = found->second;
    hear_start(name);
    std::string failure = start_failure(vm.start->text);
    vm.start.reset();
    if (!find_process(name, vm)) process_ended(name, vm, failure);
    save(name, vm);
}

// --- What it says ---

void VmKeeper::save(const std::string& name, Vm& vm) {
    Json json = vm.kept.to_json();
    json["name"] = name;
    json["file"] = vm.file;
    json["mistake"] = vm.mistake;
    std::string text = json.dump(1) + "\n";
    if (text == vm.saved) return;
    vm.saved = text;
    log_info("VM {}: {}{}{}", name, name_of(vm.kept.state()), vm.kept.why().empty() ? "" : ": ",
             vm.kept.why());
    ByteSpan bytes{reinterpret_cast<const uint8_t*>(text.data()), text.size()};
    if (auto written =
            host::write_file_atomically(RuntimeFolder::kept_file(options_.runtime_base, name), bytes);
        !written)
        log_error("{}", written.error().message());
}

Result<VmKeeper::Vm*> VmKeeper::find(const std::string& name) {
    read_folder();
    auto found = vms_.find(name);
    if (found == vms_.end())
        return error("no VM {} is known to this host's daemon; put its configuration into {}/{}.toml", name,
                     options_.folder, name);
    return &found->second;
}

Result<std::string> VmKeeper::start(const std::string& name) {
    Vm& vm = *TRY(find(name));
    if (!vm.mistake.empty()) return Error(vm.mistake);
    if (host::is_evacuated(options_.runtime_base))
        return error("this host is evacuated; VM {} is started here after `lockstep host restore`", name);
    if (vm.process || vm.start) return error("VM {} runs already, or is started; see `lockstep list`", name);
    vm.kept.on_start_wanted(host::date_s());
    look_after(name, vm);
    save(name, vm);
    return fmt::format("VM {} is started; `lockstep list` says how that goes", name);
}

Result<std::string> VmKeeper::stop(const std::string& name) {
    Vm& vm = *TRY(find(name));
    vm.kept.on_stop_wanted(host::date_s());
    save(name, vm);
    if (!vm.process) return fmt::format("VM {} doesn't run here, and is not started again", name);
    TRY(host::control_request(RuntimeFolder::control_socket_of(options_.runtime_base, name),
                              {{"action", "powerbutton"}}, kLookTimeoutNs * 10));
    return fmt::format("the power button of VM {} was pressed; once it is off, it stays so", name);
}

Json answer_keeper_request(VmKeeper& keeper, const Json& request) {
    bool sound = request.is_object() && request.contains("action") && request.contains("vm") &&
                 request["action"].is_string() && request["vm"].is_string();
    if (!sound) return {{"error", "a request is an object with \"action\" and \"vm\""}};
    std::string action = request["action"], vm = request["vm"];
    if (action != "start" && action != "stop")
        return {{"error", fmt::format("there is no action \"{}\"; there are start and stop", action)}};
    Result<std::string> done = action == "start" ? keeper.start(vm) : keeper.stop(vm);
    if (!done) return {{"error", done.error().message()}};
    return {{"done", done.value()}};
}

std::string daemon_socket(const std::string& runtime_base) { return runtime_base + "/.daemon"; }

std::vector<Json> kept_vms(const std::string& runtime_base) {
    std::vector<Json> vms;
    std::error_code failed;
    for (fs::directory_iterator next(kept_folder(runtime_base), failed);
         !failed && next != fs::directory_iterator(); next.increment(failed)) {
        if (Json json = read_kept(next->path()); !json.is_null()) vms.push_back(std::move(json));
    }
    std::ranges::sort(vms, {}, [](const Json& vm) { return vm["name"].get<std::string>(); });
    return vms;
}

}  // namespace lockstep::keeper
