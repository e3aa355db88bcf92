// SPDX-License-Identifier: Apache-2.0
// The table of actions is total: every action answers in every state, by its table row alone.
#include "control/actions.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <set>

#include "host/files.h"
#include "toy_machine.h"

namespace lockstep::control {
namespace {

/// A toy VM that runs alone.
class RunningVm {
  public:
    RunningVm() {
        char name[] = "/tmp/lockstep-actions-XXXXXX";
        folder_ = ::mkdtemp(name);
        loop_ = host::EventLoop::create().take();
        vmm::VmSettings settings;
        settings.name = "toy";
        settings.memory_bytes = 64 << 20;
        vmm::Environment environment;
        environment.runtime_base = folder_;
        auto started = vmm::VmProcess::start_owner(*loop_, factory_, settings, environment,
                                                   [this](const vmm::Ending& ending) { ending_ = ending; });
        EXPECT_TRUE(started.ok()) << started.error().message();
        vm_ = started.take();
    }
    ~RunningVm() {
        vm_.reset();
        std::filesystem::remove_all(folder_);
    }

    Json ask(const Json& request) { return answer_request(*vm_, request); }
    void run_until(const std::function<bool()>& done) {
        for (int i = 0; i < 2000 && !done(); ++i) loop_->run_once(5'000'000);
        EXPECT_TRUE(done());
    }
    void start() {
        run_until([this] { return vm_->status().started; });
    }
    const std::optional<vmm::Ending>& ending() const { return ending_; }
    vmm::VmProcess& vm() { return *vm_; }
    const std::string& folder() const { return folder_; }

  private:
    std::string folder_;
    std::unique_ptr<host::EventLoop> loop_;
    vmm::testing::ToyFactory factory_;
    std::optional<vmm::Ending> ending_;
    std::unique_ptr<vmm::VmProcess> vm_;
};

TEST(Actions, EveryRowIsComplete) {
    std::set<std::string_view> names;
    for (const Action& action : actions()) {
        EXPECT_TRUE(names.insert(action.name).second) << action.name;
        EXPECT_EQ(find_action(action.name), &action);
        EXPECT_FALSE(action.meaning.empty()) << action.name;
        EXPECT_FALSE(action.result.empty()) << action.name;
        for (const Field& field : action.result) EXPECT_FALSE(field.meaning.empty()) << field.name;
        EXPECT_NE(action.run, nullptr) << action.name;
        bool everywhere = true;
        for (replica::State state : replica::kAllStates)
            everywhere = everywhere && (action.occasion.states & state_bit(state));
        EXPECT_NE(action.occasion.states, 0u) << action.name;
        EXPECT_EQ(action.occasion.otherwise.empty(), everywhere)
            << action.name << ": an action that isn't legal everywhere says what to do otherwise";
        for (const Argument& argument : action.arguments) {
            EXPECT_FALSE(argument.meaning.empty());
            EXPECT_EQ(argument.kind == Kind::kChoice, !argument.choices.empty()) << argument.name;
        }
    }
}

TEST(Actions, NothingChangesABackupButStatusAndConsoleAnswer) {
    for (const Action& action : actions()) {
        for (replica::State state : replica::kAllStates) {
            if (replica::is_owner(state)) continue;
            EXPECT_EQ((action.occasion.states & state_bit(state)) != 0, action.only_asks) << action.name;
        }
    }
}

std::string manual() { return host::read_text(LOCKSTEP_SOURCE_FOLDER "/docs/operation.md").take(); }

/// As the manual has it in its table.
std::string row_of(const Action& action) {
    return fmt::format("| `{}` | {} | {} | {} |\n", synopsis_of(action), action.meaning, action.occasion.name,
                       host::name_of(action.role));
}

TEST(Actions, TheManualHasEveryRowOfTheTable) {
    std::string text = manual(), all;
    for (const Action& action : actions()) all += row_of(action);
    EXPECT_NE(text.find(all), std::string::npos) << "docs/operation.md must have these rows:\n" << all;
    for (const Action& action : actions())
        for (const Argument& argument : action.arguments)
            EXPECT_NE(text.find(fmt::format("`{}`", argument.name)), std::string::npos) << argument.name;
}

TEST(Actions, TheManualHasEveryFieldOfTheStatus) {
    std::string text = manual();
    text = text.substr(text.find("\n## Status\n"));
    for (const Field& field : find_action("status")->result)
        EXPECT_NE(text.find(fmt::format("`{}`", field.name)), std::string::npos) << field.name;
}

TEST(Actions, TheManualHasEveryCode) {
    std::string text = manual();
    for (const ProblemKind& kind : problem_kinds()) {
        std::string row = fmt::format("| `{}` | {} | {} | {} |\n", kind.code, kind.http_status,
                                      kind.exit_status, kind.meaning);
        EXPECT_NE(text.find(row), std::string::npos) << row;
    }
}

TEST(Actions, TheFieldsOfTheStatusAreThoseThatItHas) {
    Json status = status_json({});
    std::set<std::string> told, listed;
    for (const auto& [key, value] : status.items()) told.insert(key);
    for (const Field& field : find_action("status")->result) {
        listed.insert(std::string(field.name));
        const Json& value = status[std::string(field.name)];
        bool fits = field.kind == Kind::kText      ? value.is_string()
                    : field.kind == Kind::kFlag    ? value.is_boolean()
                    : field.kind == Kind::kInteger ? value.is_number_integer() || value.is_null()
                    : field.kind == Kind::kNumber  ? value.is_number()
                    : field.kind == Kind::kList    ? value.is_array()
                                                   : value.is_object();
        EXPECT_TRUE(fits) << field.name << " is " << value;
    }
    told.insert("memory_bytes");  // of a VM that has settings
    EXPECT_EQ(told, listed);
}

TEST(Actions, ASaidStateIsRefusedAsTheTableSays) {
    const Action& failover = *find_action("failover");
    EXPECT_TRUE(refusal_in_state(failover, "web", "Protected").is_null());
    Json refused = refusal_in_state(failover, "web", "Solo");
    EXPECT_EQ(refused["code"], kNotNow);
    EXPECT_NE(refused["remedy"].get<std::string>().find("Protected"), std::string::npos);
    EXPECT_EQ(refusal_in_state(failover, "web", "Starting")["code"], kNotNow);
    EXPECT_TRUE(refusal_in_state(*find_action("status"), "web", "Starting").is_null());
}

TEST(Actions, ARoleThatDoesNotSufficeIsToldWhichOneDoes) {
    for (const Action& action : actions())
        for (const host::RoleRow& row : host::kRoles) {
            Json refused = refusal_of_role(action, row.role);
            EXPECT_EQ(refused.is_null(), row.role >= action.role) << action.name << " by " << row.name;
            if (refused.is_null()) continue;
            EXPECT_EQ(refused["code"], kNotPermitted);
            EXPECT_NE(refused["error"].get<std::string>().find(
                          fmt::format("needs the role {}", host::name_of(action.role))),
                      std::string::npos);
        }
    EXPECT_EQ(find_action("status")->role, host::Role::kViewer);
    for (const Action& action : actions())
        EXPECT_TRUE(action.only_asks || action.role != host::Role::kViewer) << action.name;
}

TEST(Actions, BadRequestsGetASentence) {
    RunningVm vm;
    vm.start();
    struct Case {
        Json request;
        std::string_view sentence;
        std::string_view code;
    };
    const Case cases[] = {
        {Json::array(), "a request is an object", kBadRequest},
        {{{"verb", "status"}}, "a request is an object", kBadRequest},
        {{{"action", 7}}, "a request is an object", kBadRequest},
        {{{"action", "statsu"}}, "did you mean \"status\"", kUnknownAction},
        {{{"action", "status"}, {"vm", "toy"}}, "takes no argument \"vm\"", kBadArgument},
        {{{"action", "protect"}, {"host", 7}}, "must be text", kBadArgument},
        {{{"action", "protect"}}, "no arbiter", kFailed},
        {{{"action", "record-start"}}, "needs the argument \"path\"", kBadArgument},
        {{{"action", "record-start"}, {"path", "x"}}, "an absolute path", kBadArgument},
        {{{"action", "failover"}, {"how", "soon"}}, "\"planned\" or \"crash\"", kBadArgument},
        {{{"action", "record-stop"}}, "isn't being recorded", kFailed},
        {{{"action", "failover"}}, "not possible while VM toy is in the state Solo", kNotNow},
    };
    for (const Case& one : cases) {
        Json answer = vm.ask(one.request);
        ASSERT_TRUE(answer.contains("error")) << one.request;
        EXPECT_NE(answer["error"].get<std::string>().find(one.sentence), std::string::npos) << answer;
        EXPECT_EQ(answer["code"], one.code) << answer;
    }
}

TEST(Actions, BeforeTheStartOnlyStatusAnswers) {
    RunningVm vm;
    EXPECT_EQ(vm.ask({{"action", "status"}})["state"], "Starting");
    EXPECT_TRUE(vm.ask({{"action", "poweroff"}}).contains("error"));
}

TEST(Actions, StatusShowsAVmThatRunsAlone) {
    RunningVm vm;
    vm.start();
    vm.run_until([&vm] { return vm.vm().status().guest.last_output_ms.has_value(); });
    Json status = vm.ask({{"action", "status"}});
    EXPECT_EQ(status["role"], "solo");
    EXPECT_EQ(status["name"], "toy");
    EXPECT_FALSE(status["protected"].get<bool>());
    std::string text = status_text(status);
    for (const char* part : {"VM toy: solo", "guest ", "last output", "memory 64 MiB",
                             "not protected: its configuration has no section [protection]"})
        EXPECT_NE(text.find(part), std::string::npos) << part << " in\n" << text;
    EXPECT_EQ(status["memory_bytes"], 64 << 20);
    EXPECT_EQ(vm.ask({{"action", "console"}})["console"], status["console"]);
}

/// The status of a side of a pair in `state`, as far as the view looks at it.
vmm::VmStatus status_in(replica::State state, bool may_act) {
    vmm::VmStatus status;
    status.name = "web";
    status.started = true;
    status.replica.state = state;
    status.replica.may_act = may_act;
    status.replica.why = "the backup is gone";
    return status;
}

TEST(Actions, OnlyASideThatMayLetThingsOutIsCalledPrimary) {
    for (replica::State state : replica::kAllStates) {
        Json json = status_json(status_in(state, false));
        EXPECT_NE(json["role"], "primary") << replica::name_of(state);
        EXPECT_NE(json["role"], "solo") << replica::name_of(state);
    }
    Json waiting = status_json(status_in(replica::State::kPrimaryClaiming, false));
    EXPECT_EQ(waiting["role"], "waiting");
    EXPECT_NE(status_text(waiting).find("nothing leaves here now: the backup is gone"), std::string::npos);
    EXPECT_EQ(status_json(status_in(replica::State::kProtected, true))["role"], "primary");
    EXPECT_EQ(status_json(status_in(replica::State::kSolo, true))["role"], "solo");
}

TEST(Actions, StatusBeginsWithWhatAnOperatorNeeds) {
    vmm::VmSettings settings;
    settings.memory_bytes = 1 << 30;
    vmm::DiskSettings& disk = settings.disks.emplace_back();
    disk.path = "/shared/web.raw";
    disk.shared = true;
    vmm::NetworkSettings& network = settings.networks.emplace_back();
    network.tap = "web0";
    network.bridge = "br0";
    network.mac = {0x52, 0x54, 0, 0, 0, 1};
    vmm::VmStatus status = status_in(replica::State::kProtected, true);
    status.settings = &settings;
    status.peer = "10.1.0.2:7700";
    status.link_faults = {"lan0 of the bridge br0 has no carrier"};
    status.guest.busy_permille = 996;
    status.guest.last_output_ms = 75'000;
    status.guest.resets = 1;
    status.guest.panics = 2;
    status.guest.last_panic = "Kernel panic - not syncing: Attempted to kill init!";
    status.guest.last_panic_ms = 75'400;
    EXPECT_EQ(
        status_text(status_json(status)),
        "VM web: primary (state Protected, term 0)\n"
        "  guest busy, 100 % of a processor; last output 75 s ago; 1 reset; 2 kernel panics, the last 75 s "
        "ago: Kernel panic - not syncing: Attempted to kill init!\n"
        "  protected by 10.1.0.2:7700\n"
        "  execution lag 0 ms; speed 1000 of 1000; log 0.0 kbit/s; 0 outputs wait\n"
        "  memory 1024 MiB\n"
        "  disk /shared/web.raw, shared\n"
        "  network web0 of br0, 52:54:00:00:00:01; the guest can't be reached here: lan0 of the bridge br0 "
        "has no carrier\n");
    EXPECT_EQ(status_json(status)["why"],
              "the backup is gone; the guest can't be reached here: lan0 of the bridge br0 has no carrier");
}

TEST(Actions, StatusSaysThatLinksAreInsecureAndOfForgeries) {
    vmm::VmSettings settings;
    vmm::VmStatus status = status_in(replica::State::kProtected, true);
    status.settings = &settings;
    status.security = vmm::Security::kInsecure;
    EXPECT_EQ(status_text(status_json(status)).find("INSECURE"), std::string::npos) << "it has no links";
    settings.protection.hosts = {"10.1.0.1:7700", "10.1.0.2:7700"};
    status.ignored_datagrams.forged = 3;
    std::string text = status_text(status_json(status));
    EXPECT_NE(text.find("INSECURE"), std::string::npos) << text;
    EXPECT_NE(text.find("3 forged heartbeats"), std::string::npos) << text;
    status.security = vmm::Security::kTls;
    EXPECT_EQ(status_json(status)["insecure"], false);
}

TEST(Actions, StatusShowsWhatTheEngineDid) {
    RunningVm vm;
    vm.start();
    auto interpreted = [&vm] {
        return vm.ask({{"action", "status"}})["engine"]["interpreted"].get<uint64_t>();
    };
    vm.run_until([&] { return interpreted() > 0; });
    uint64_t before = interpreted();
    vm.run_until([&] { return interpreted() > before; });
    Json status = vm.ask({{"action", "status"}});
    EXPECT_EQ(status["engine"].size(), translate::figures({}).size());
    std::string text = status_text(status, Counters::kShown);
    EXPECT_NE(text.find(fmt::format("interpreted {},", status["engine"]["interpreted"].get<uint64_t>())),
              std::string::npos)
        << text;
    EXPECT_EQ(status_text(status).find("engine"), std::string::npos) << "only if wanted";
}

TEST(Actions, PowerOffEndsTheVm) {
    RunningVm vm;
    vm.start();
    EXPECT_TRUE(vm.ask({{"action", "poweroff"}}).contains("done"));
    vm.run_until([&] { return vm.ending().has_value(); });
    EXPECT_EQ(vm.ending()->kind, vmm::Ending::Kind::kPoweredOff);
}

TEST(Actions, ARecordingIsStartedAndStopped) {
    RunningVm vm;
    vm.start();
    std::string path = vm.folder() + "/rec.log";
    EXPECT_TRUE(vm.ask({{"action", "record-start"}, {"path", path}}).contains("done"));
    vm.run_until([&] { return vm.vm().status().recording == path; });
    EXPECT_TRUE(vm.ask({{"action", "record-start"}, {"path", path + "2"}}).contains("error"))
        << "already recording";
    EXPECT_TRUE(vm.ask({{"action", "record-stop"}}).contains("done"));
    EXPECT_TRUE(vm.ask({{"action", "record-start"}, {"path", path}}).contains("error")) << "the file exists";
}

}  // namespace
}  // namespace lockstep::control
