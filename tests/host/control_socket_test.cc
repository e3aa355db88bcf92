// SPDX-License-Identifier: Apache-2.0
#include "host/control_socket.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <thread>

#include "support.h"

namespace lockstep::host {
namespace {

class ControlSocketTest : public testing::Test {
  protected:
    ControlSocketTest() : loop_(make_loop()), path_(folder_ / "control") {}

    void serve(ControlServer::Handler handler) {
        auto server = ControlServer::create(*loop_, path_, std::move(handler));
        ASSERT_TRUE(server.ok()) << server.error().message();
        server_ = server.take();
    }
    /// The blocking client on a thread, the server on this one.
    Result<Json> ask(const Json& request, uint64_t timeout_ns = 5 * kNsPerSecond) {
        std::optional<Result<Json>> result;
        std::thread client([&] {
            result = control_request(path_, request, timeout_ns);
            loop_->stop();
        });
        loop_->run();
        client.join();
        return std::move(*result);
    }

    TemporaryFolder folder_;
    std::unique_ptr<EventLoop> loop_;
    std::string path_;
    std::unique_ptr<ControlServer> server_;
};

TEST_F(ControlSocketTest, ARequestIsAnswered) {
    serve([](const Json& request, const ControlServer::Reply& reply) {
        reply({{"twice", 2 * request["n"].get<int>()}});
    });
    auto answer = ask({{"n", 21}});
    ASSERT_TRUE(answer.ok()) << answer.error().message();
    EXPECT_EQ(answer.value()["twice"], 42);
    struct stat info {};
    EXPECT_EQ(stat(path_.c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777, 0600u) << "for the owner alone";
}

TEST_F(ControlSocketTest, AnAnswerMayComeLater) {
    Timer timer;
    serve([&](const Json&, const ControlServer::Reply& reply) {
        timer = loop_->call_after(20 * kNsPerMs, [reply] {
            reply({{"late", true}});
            reply({{"twice", true}});  // ignored
        });
    });
    EXPECT_TRUE(ask(Json::object()).ok());
    EXPECT_TRUE(ask(Json::object()).value().contains("late"));
}

TEST_F(ControlSocketTest, AnErrorAnswerIsAnError) {
    serve([](const Json&, const ControlServer::Reply& reply) { reply({{"error", "the VM is no primary"}}); });
    auto answer = ask(Json::object());
    ASSERT_FALSE(answer.ok());
    EXPECT_EQ(answer.error().message(), "the VM is no primary");
}

TEST_F(ControlSocketTest, SeveralRequestsAreAnsweredInOrderEvenAfterEndOfInput) {
    std::vector<ControlServer::Reply> replies;
    serve([&](const Json& request, const ControlServer::Reply& reply) {
        int n = request["n"];
        loop_->post([reply, n] { reply({{"n", n}}); });
    });
    FileDescriptor client = connect_to_path(path_).take();
    std::string text = "{\"n\":1}\nnonsense\n{\"n\":2}\n[3]\n";
    EXPECT_EQ(write(client.get(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
    shutdown(client.get(), SHUT_WR);
    run_for(*loop_, 50 * kNsPerMs);
    char buffer[4096];
    ssize_t size = recv(client.get(), buffer, sizeof buffer, MSG_DONTWAIT);
    ASSERT_GT(size, 0);
    EXPECT_EQ(std::string(buffer, static_cast<size_t>(size)),
              "{\"n\":1}\n{\"error\":\"the request is no JSON object on one line\"}\n{\"n\":2}\n"
              "{\"error\":\"the request is no JSON object on one line\"}\n");
    EXPECT_EQ(recv(client.get(), buffer, sizeof buffer, MSG_DONTWAIT), 0)
        << "the server closes when all is answered";
}

TEST_F(ControlSocketTest, AnEndlessLineIsRefusedAndBounded) {
    serve([](const Json&, const ControlServer::Reply&) { ADD_FAILURE(); });
    FileDescriptor client = connect_to_path(path_).take();
    fcntl(client.get(), F_SETFL, O_NONBLOCK);
    std::string part(65536, 'x');
    size_t sent = 0;
    for (int i = 0; i < 200; i++) {
        ssize_t result = send(client.get(), part.data(), part.size(), MSG_NOSIGNAL);
        if (result > 0) sent += static_cast<size_t>(result);
        run_for(*loop_, kNsPerMs / 4);
    }
    EXPECT_LT(sent, 2 * ControlServer::kLongestLine);
}

TEST_F(ControlSocketTest, AClientThatLeavesHarmsNothing) {
    ControlServer::Reply pending;
    serve([&](const Json& request, const ControlServer::Reply& reply) {
        if (request.contains("hang"))
            pending = reply;
        else
            reply(Json::object());
    });
    connect_to_path(path_).take();
    FileDescriptor client = connect_to_path(path_).take();
    EXPECT_EQ(write(client.get(), "{\"hang\":1}\n", 11), 11);
    EXPECT_TRUE(run_until(*loop_, [&] { return pending != nullptr; }));
    client.reset();
    run_for(*loop_, 2 * kNsPerMs);
    pending({{"too", "late"}});
    EXPECT_TRUE(ask(Json::object()).ok());
    server_.reset();
    pending({{"even", "later"}});
}

TEST_F(ControlSocketTest, TheClientSaysWhatIsWrong) {
    auto nobody = control_request(path_, Json::object());
    ASSERT_FALSE(nobody.ok());
    expect_contains(nobody.error().message(), "nobody listens at " + path_);
    serve([](const Json&, const ControlServer::Reply&) {});
    auto silent = ask(Json::object(), 50 * kNsPerMs);
    ASSERT_FALSE(silent.ok());
    expect_contains(silent.error().message(), "doesn't answer");
}

}  // namespace
}  // namespace lockstep::host
