// SPDX-License-Identifier: Apache-2.0
#include "host/arbiter.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <barrier>
#include <thread>

#include "host/files.h"
#include "support.h"

namespace lockstep::host {
namespace {

TEST(ClaimInFolder, OfManyThreadsExactlyOneWinsEachTerm) {
    TemporaryFolder folder;
    constexpr int kThreads = 8;
    constexpr uint64_t kTerms = 100;
    std::vector<std::atomic<int>> wins(kTerms);
    std::atomic<int> inconsistent{0};
    std::barrier start(kThreads);
    std::vector<std::thread> threads;
    for (int t = 0; t < kThreads; t++) {
        threads.emplace_back([&, name = "side-" + std::to_string(t)] {
            for (uint64_t term = 0; term < kTerms; term++) {
                start.arrive_and_wait();
                ClaimAnswer first = claim_in_folder(folder.path(), "web", Term(term), name);
                ClaimAnswer second = claim_in_folder(folder.path(), "web", Term(term), name);
                if (first.verdict != second.verdict || first.verdict == Verdict::kUnreachable) inconsistent++;
                if (first.verdict == Verdict::kWon) wins[term]++;
            }
        });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(inconsistent, 0);
    for (uint64_t term = 0; term < kTerms; term++) EXPECT_EQ(wins[term], 1) << "term " << term;
    size_t files = 0;
    for (const auto& entry : std::filesystem::directory_iterator(folder.path())) {
        files++;
        EXPECT_EQ(entry.path().filename().string().find(".tmp"), std::string::npos)
            << "a temporary file is left";
    }
    EXPECT_EQ(files, kTerms);
}

TEST(ClaimInFolder, OfManyProcessesExactlyOneWinsEachTerm) {
    TemporaryFolder folder;
    constexpr int kProcesses = 4;
    constexpr uint64_t kTerms = 60;
    int starting_gun[2], results[2];
    ASSERT_EQ(pipe(starting_gun), 0);
    ASSERT_EQ(pipe(results), 0);
    std::vector<pid_t> children;
    for (int p = 0; p < kProcesses; p++) {
        pid_t child = fork();
        if (child == 0) {
            close(starting_gun[1]);
            char byte;
            (void)!read(starting_gun[0], &byte, 1);  // ends when the parent closes its end
            for (uint64_t term = 0; term < kTerms; term++) {
                auto verdict =
                    claim_in_folder(folder.path(), "db", Term(term), std::to_string(getpid())).verdict;
                auto won = static_cast<char>(term);
                if (verdict == Verdict::kWon) (void)!write(results[1], &won, 1);
            }
            _exit(0);
        }
        children.push_back(child);
    }
    close(starting_gun[0]);
    close(starting_gun[1]);
    for (pid_t child : children) waitpid(child, nullptr, 0);
    close(results[1]);
    std::vector<int> wins(kTerms);
    for (char term; read(results[0], &term, 1) == 1;) wins[static_cast<size_t>(term)]++;
    close(results[0]);
    EXPECT_EQ(wins, std::vector<int>(kTerms, 1));
}

TEST(ClaimInFolder, TheLoserLearnsTheWinnersName) {
    TemporaryFolder folder;
    EXPECT_EQ(claim_in_folder(folder.path(), "web", Term(4), "a").verdict, Verdict::kWon);
    ClaimAnswer answer = claim_in_folder(folder.path(), "web", Term(4), "b");
    EXPECT_EQ(answer.verdict, Verdict::kLost);
    EXPECT_EQ(answer.detail, "a");
    EXPECT_EQ(claim_in_folder(folder.path(), "web2", Term(4), "b").verdict, Verdict::kWon)
        << "another VM's term";
    EXPECT_EQ(claim_in_folder(folder.path(), "web", Term(5), "b").verdict, Verdict::kWon);
    EXPECT_EQ(latest_term_in_folder(folder.path(), "web").latest, Term(5));
    EXPECT_EQ(latest_term_in_folder(folder.path(), "web2").latest, Term(4));
    EXPECT_EQ(latest_term_in_folder(folder.path(), "we").latest, Term(0));
}

TEST(ClaimInFolder, AMissingFolderIsUnreachable) {
    ClaimAnswer answer = claim_in_folder("/nonexistent/arbiter", "web", Term(1), "a");
    EXPECT_EQ(answer.verdict, Verdict::kUnreachable);
    expect_contains(answer.detail, "/nonexistent/arbiter");
    EXPECT_FALSE(latest_term_in_folder("/nonexistent/arbiter", "web").reachable);
}

/// A file in the arbiter's folder that is none of the arbiter's decides nothing.
TEST(ClaimInFolder, WhatIsNoTermFileIsOutOfReach) {
    TemporaryFolder folder;
    std::string term_file = folder / "web.term-1";
    auto expect_unreachable = [&](const std::string& why) {
        ClaimAnswer answer = claim_in_folder(folder.path(), "web", Term(1), "a");
        EXPECT_EQ(answer.verdict, Verdict::kUnreachable) << why;
        expect_contains(answer.detail, term_file);
        expect_contains(answer.detail, why);
        std::filesystem::remove_all(term_file);
    };
    ASSERT_TRUE(write_file_atomically(folder / "elsewhere", to_bytes("a\n")).ok());
    std::filesystem::create_symlink(folder / "elsewhere", term_file);
    expect_unreachable("is a symbolic link");
    std::filesystem::create_directory(term_file);
    expect_unreachable("is no regular file");
    for (const std::string& content :
         {std::string(), std::string("a"), std::string("\n"), std::string("a\nb\n"),
          std::string("a\x1b[2J\n"), std::string("a\xff\n"), std::string(201, 'x') + "\n",
          std::string(1 << 20, 'x')}) {
        ASSERT_TRUE(write_file_atomically(term_file, to_bytes(content)).ok());
        expect_unreachable("doesn't hold the one line of a claim");
    }
    EXPECT_EQ(claim_in_folder(folder.path(), "web", Term(1), "a").verdict, Verdict::kWon);
}

class FolderArbiterTest : public testing::Test {
  protected:
    FolderArbiterTest() : loop_(make_loop()) {}

    std::unique_ptr<Arbiter> make(const std::string& claimant, uint64_t timeout_ns = 5 * kNsPerSecond) {
        return create_folder_arbiter(
                   *loop_,
                   {.folder = folder_.path(), .claimant = claimant, .host = "here", .timeout_ns = timeout_ns})
            .take();
    }
    ClaimAnswer claim(Arbiter& arbiter, uint64_t term) {
        std::optional<ClaimAnswer> result;
        arbiter.claim("web", Term(term), [&](const ClaimAnswer& answer) { result = answer; });
        EXPECT_FALSE(result) << "never from within the call";
        EXPECT_TRUE(run_until(*loop_, [&] { return result.has_value(); }));
        return result.value_or(ClaimAnswer{});
    }

    TermLook look(Arbiter& arbiter) {
        std::optional<TermLook> result;
        arbiter.look("web", Term(0), [&](const TermLook& answer) { result = answer; });
        EXPECT_TRUE(run_until(*loop_, [&] { return result.has_value(); }));
        return result.value_or(TermLook{});
    }
    RenewAnswer renew(Arbiter& arbiter, uint64_t term, const std::optional<std::string>& backup = "") {
        std::optional<RenewAnswer> result;
        arbiter.renew("web", Term(term), backup, [&](const RenewAnswer& answer) { result = answer; });
        EXPECT_TRUE(run_until(*loop_, [&] { return result.has_value(); }));
        return result.value_or(RenewAnswer{});
    }

    TemporaryFolder folder_;
    std::unique_ptr<EventLoop> loop_;
};

TEST_F(FolderArbiterTest, AnswersComeOnTheLoop) {
    auto a = make("a"), b = make("b");
    EXPECT_EQ(claim(*a, 1).verdict, Verdict::kWon);
    EXPECT_EQ(claim(*b, 1).verdict, Verdict::kLost);
    EXPECT_EQ(claim(*a, 1).verdict, Verdict::kWon);
    EXPECT_EQ(claim(*b, 2).verdict, Verdict::kWon);
    EXPECT_EQ(claim(*a, 2).detail, "b");
    EXPECT_EQ(look(*a).latest, Term(2));
}

TEST_F(FolderArbiterTest, ALeaseChangesWithEachRenewalAndEndsWithANewerTerm) {
    using enum RenewAnswer::Outcome;
    auto a = make("a"), b = make("b");
    EXPECT_EQ(look(*b).latest, Term(0));
    EXPECT_EQ(claim(*a, 1).verdict, Verdict::kWon);
    EXPECT_EQ(look(*b).lease, "") << "claimed, and never renewed";
    EXPECT_EQ(renew(*a, 1).outcome, kRenewed);
    TermLook first = look(*b);
    EXPECT_EQ(first.latest, Term(1));
    EXPECT_EQ(first.owner, "process a on here");
    EXPECT_EQ(look(*b).lease, first.lease) << "nobody has renewed it";
    EXPECT_EQ(renew(*a, 1).outcome, kRenewed);
    EXPECT_NE(look(*b).lease, first.lease);
    EXPECT_EQ(look(*b).lease.size(), first.lease.size()) << "a renewal changes bytes in place";

    EXPECT_EQ(claim(*b, 2).verdict, Verdict::kWon);
    EXPECT_EQ(renew(*b, 2).outcome, kRenewed);
    RenewAnswer over = renew(*a, 1);
    EXPECT_EQ(over.outcome, kSuperseded);
    expect_contains(over.detail, "term 2 was claimed at the arbiter by process b on here");
}

TEST_F(FolderArbiterTest, ALeaseSaysOnWhichHostsTheVmIs) {
    auto a = make("a"), b = make("b");
    ASSERT_EQ(claim(*a, 1).verdict, Verdict::kWon);
    EXPECT_EQ(look(*b).pair.backup, "");
    renew(*a, 1, "host-b:7700");
    EXPECT_EQ(look(*b).pair.owner, "here");
    EXPECT_EQ(look(*b).pair.backup, "host-b:7700");

    // Whoever only starts knows nothing of it.
    ASSERT_EQ(claim(*b, 2).verdict, Verdict::kWon);
    EXPECT_EQ(look(*b).pair.backup, "host-b:7700");
    renew(*b, 2, std::nullopt);
    EXPECT_EQ(look(*b).pair.backup, "host-b:7700");
    renew(*b, 2, "");
    EXPECT_EQ(look(*b).pair.backup, "") << "it is alone";

    bool done = false;
    a->set_free("web", Term(1), [&] { done = true; });
    renew(*b, 2, std::nullopt);
    EXPECT_TRUE(run_until(*loop_, [&] { return done; }));
    EXPECT_EQ(look(*b).pair.backup, "") << "the pair is done";
}

TEST_F(FolderArbiterTest, TermsWithoutEndAreNotSearched) {
    auto a = make("a");
    ASSERT_EQ(claim(*a, 1'000'000'000).verdict, Verdict::kWon);
    std::optional<TermLook> result;
    a->look("web", Term(0), [&](const TermLook& answer) { result = answer; });
    EXPECT_TRUE(run_until(*loop_, [&] { return result.has_value(); }));
    EXPECT_FALSE(result->reachable);
    expect_contains(result->detail, "says on which hosts it is");
}

TEST_F(FolderArbiterTest, AnOwnerThatIsDoneSaysSo) {
    auto a = make("a");
    EXPECT_EQ(claim(*a, 1).verdict, Verdict::kWon);
    EXPECT_EQ(renew(*a, 1).outcome, RenewAnswer::Outcome::kRenewed);
    EXPECT_FALSE(look(*a).free);
    bool done = false;
    a->set_free("web", Term(1), [&] { done = true; });
    EXPECT_TRUE(run_until(*loop_, [&] { return done; }));
    EXPECT_TRUE(look(*a).free);
}

TEST_F(FolderArbiterTest, ATornLeaseIsOneThatHasChanged) {
    auto a = make("a");
    EXPECT_EQ(claim(*a, 1).verdict, Verdict::kWon);
    EXPECT_EQ(renew(*a, 1).outcome, RenewAnswer::Outcome::kRenewed);
    std::string whole = look(*a).lease;
    for (const std::string& content : {std::string(), whole.substr(0, 100), std::string("\x1b[2J\xff")}) {
        ASSERT_TRUE(write_file_atomically(folder_ / "web.lease-1", to_bytes(content)).ok());
        TermLook torn = look(*a);
        EXPECT_TRUE(torn.reachable);
        EXPECT_FALSE(torn.free);
        EXPECT_NE(torn.lease, whole);
    }
    EXPECT_EQ(renew(*a, 1).outcome, RenewAnswer::Outcome::kRenewed) << "and is mended by the next";
    std::filesystem::remove(folder_ / "web.lease-1");
    std::filesystem::create_symlink("/etc/hostname", folder_ / "web.lease-1");
    EXPECT_FALSE(look(*a).reachable) << "no link is followed";
    EXPECT_EQ(renew(*a, 1).outcome, RenewAnswer::Outcome::kUnreachable);
}

// A renewal that hangs keeps no claim waiting.
TEST_F(FolderArbiterTest, AClaimDoesntWaitForARenewal) {
    auto a = make("a");
    std::string hanging = folder_ / "web.lease-1";
    ASSERT_EQ(mkfifo(hanging.c_str(), 0600), 0);
    bool renewed = false;
    a->renew("web", Term(1), "", [&](const RenewAnswer&) { renewed = true; });
    EXPECT_EQ(claim(*a, 2).verdict, Verdict::kWon);
    EXPECT_FALSE(renewed);
    int other_end = open(hanging.c_str(), O_RDONLY | O_NONBLOCK);  // frees the thread
    EXPECT_TRUE(run_until(*loop_, [&] { return renewed; }));
    close(other_end);
}

TEST_F(FolderArbiterTest, ItIsReachableAgainWhenTheStorageIsBack) {
    auto arbiter = make("a");
    std::string away = folder_.path() + ".away";
    std::filesystem::rename(folder_.path(), away);
    EXPECT_EQ(claim(*arbiter, 1).verdict, Verdict::kUnreachable);
    std::filesystem::rename(away, folder_.path());
    EXPECT_EQ(claim(*arbiter, 1).verdict, Verdict::kWon);
}

// A storage that hangs: opening a FIFO blocks until somebody opens its other end.
TEST_F(FolderArbiterTest, AHangingStorageIsUnreachableAndBlocksNothing) {
    auto arbiter = make("a", 30 * kNsPerMs);
    std::string hanging = folder_ / "web.term-1";
    ASSERT_EQ(mkfifo(hanging.c_str(), 0600), 0);
    uint64_t start = loop_->now_ns();
    ClaimAnswer answer = claim(*arbiter, 1);
    EXPECT_EQ(answer.verdict, Verdict::kUnreachable);
    EXPECT_LT(loop_->now_ns() - start, kNsPerSecond);
    expect_contains(answer.detail, folder_.path());
    EXPECT_EQ(claim(*arbiter, 2).verdict, Verdict::kUnreachable) << "the storage still hangs";

    // Moved aside, so that the freed thread meets the file of a winner when it looks again.
    ASSERT_TRUE(write_file_atomically(folder_ / "winner", to_bytes("b\n")).ok());
    int other_end = open(hanging.c_str(), O_WRONLY);
    ASSERT_GE(other_end, 0);
    ASSERT_EQ(rename((folder_ / "winner").c_str(), hanging.c_str()), 0);
    close(other_end);
    auto healthy = make("a");
    EXPECT_EQ(claim(*healthy, 3).verdict, Verdict::kWon);
    EXPECT_TRUE(run_until(*loop_, [&] { return claim(*arbiter, 1).verdict == Verdict::kLost; }));
    EXPECT_FALSE(std::filesystem::exists(folder_ / "web.term-2"))
        << "a claim that was given up before it began is not made later";
}

TEST_F(FolderArbiterTest, ItMayBeDestroyedWhileItsStorageHangs) {
    auto arbiter = make("a");
    std::string hanging = folder_ / "web.term-1";
    ASSERT_EQ(mkfifo(hanging.c_str(), 0600), 0);
    arbiter->claim("web", Term(1), [](const ClaimAnswer&) { ADD_FAILURE() << "the asker was gone"; });
    run_for(*loop_, 20 * kNsPerMs);
    arbiter.reset();
    int other_end = open(hanging.c_str(), O_WRONLY);
    close(other_end);
    run_for(*loop_, 20 * kNsPerMs);
}

TEST_F(FolderArbiterTest, BadSettingsAreRefused) {
    EXPECT_FALSE(create_folder_arbiter(*loop_, {.folder = "relative", .claimant = "a"}).ok());
    EXPECT_FALSE(create_folder_arbiter(*loop_, {.folder = "/tmp", .claimant = ""}).ok());
    EXPECT_FALSE(create_folder_arbiter(*loop_, {.folder = "/tmp", .claimant = "two\nlines"}).ok());
}

}  // namespace
}  // namespace lockstep::host
