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
        EXPECT_FALSE(action.reply.empty()) << action.name;
        EXPECT_NE(action.run, nullptr) << action.name;
        bool everywhere = true;
        for (replica::State state : replica::kAllStates)
            everywhere = everywhere && (action.legal & state_bit(state));
        EXPECT_NE(action.legal, 0u) << action.name;
        EXPECT_EQ(action.otherwise.empty(), everywhere)
            << action.name << ": an action that isn't legal everywhere says what to do otherwise";
        for (const Argument& argument : action.arguments) EXPECT_FALSE(argument.meaning.empty());
    }
}

TEST(Actions, NothingChangesABackupButStatusAndConsoleAnswer) {
    for (const Action& action : actions()) {
        bool looks_only = action.name == "status" || action.name == "console";
        for (replica::State state : replica::kAllStates) {
            if (replica::is_owner(state)) continue;
            EXPECT_EQ((action.legal & state_bit(state)) != 0, looks_only) << action.name;
        }
    }
}

TEST(Actions, TheManualNamesEveryAction) {
    std::string manual = host::read_text(LOCKSTEP_SOURCE_FOLDER "/docs/operation.md").take();
    for (const Action& action : actions())
        EXPECT_NE(manual.find("`" + std::string(action.name)), std::string::npos) << action.name;
}

TEST(Actions, BadRequestsGetASentence) {
    RunningVm vm;
    vm.start();
    struct Case {
        Json request;
        std::string_view sentence;
    };
    const Case cases[] = {
        {Json::array(), "a request is an object"},
        {{{"verb", "status"}}, "a request is an object"},
        {{{"action", 7}}, "a request is an object"},
        {{{"action", "statsu"}}, "did you mean \"status\""},
        {{{"action", "status"}, {"vm", "toy"}}, "takes no argument \"vm\""},
        {{{"action", "protect"}, {"host", 7}}, "must be text"},
        {{{"action", "protect"}}, "no arbiter"},
        {{{"action", "record-start"}}, "needs the argument \"path\""},
        {{{"action", "record-stop"}}, "isn't being recorded"},
        {{{"action", "failover"}}, "not possible while VM toy is in the state Solo"},
    };
    for (const Case& one : cases) {
        Json answer = vm.ask(one.request);
        ASSERT_TRUE(answer.contains("error")) << one.request;
        EXPECT_NE(answer["error"].get<std::string>().find(one.sentence), std::string::npos) << answer;
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
    Json status = vm.ask({{"action", "status"}});
    EXPECT_EQ(status["role"], "solo");
    EXPECT_EQ(status["name"], "toy");
    EXPECT_FALSE(status["protected"].get<bool>());
    EXPECT_NE(status_text(status).find("not protected"), std::string::npos);
    EXPECT_EQ(vm.ask({{"action", "console"}})["console"], status["console"]);
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
    std::string text = status_text(status);
    EXPECT_NE(text.find(fmt::format("interpreted {},", status["engine"]["interpreted"].get<uint64_t>())),
              std::string::npos)
        << text;
    status.erase("engine");
    EXPECT_EQ(status_text(status).find("engine"), std::string::npos);
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
