// SPDX-License-Identifier: Apache-2.0
#include "host/arbiter.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <thread>

#include "base/check.h"
#include "host/files.h"
#include "host/random.h"

namespace lockstep::host {

namespace {

constexpr char kInfix[] = ".term-";
constexpr size_t kLongestClaimant = 200;

ClaimAnswer unreachable(const std::string& folder, int error_number) {
    return {Verdict::kUnreachable, file_error("reach the arbiter's folder", folder, error_number).message()};
}

/// A claimant's name as it may stand in a term file, and so in a sentence: printable ASCII.
bool is_claimant_name(std::string_view name) {
    bool printable = std::all_of(name.begin(), name.end(), [](char c) { return c >= ' ' && c <= '~'; });
    return printable && !name.empty() && name.size() <= kLongestClaimant;
}

Error no_term_file(const std::string& path, std::string_view what) {
    return error("the arbiter's file {} {}; see who made it, and remove it while the VM is off", path, what);
}

/// Whom a term file names; none where there is none. What isn't a term file says nothing: who can write to
/// the folder must not lead this process to another file, nor make it take a fragment for a verdict.
Result<std::optional<std::string>> read_winner(const std::string& path) {
    FileDescriptor file(open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
    if (!file && errno == ENOENT) return std::optional<std::string>();
    if (!file && errno == ELOOP) return no_term_file(path, "is a symbolic link");
    if (!file) return file_error("read the arbiter's file", path, errno);
    struct stat info {};
    if (fstat(file.get(), &info) < 0) return file_error("read the arbiter's file", path, errno);
    if (!S_ISREG(info.st_mode)) return no_term_file(path, "is no regular file");
    char content[kLongestClaimant + 2];  // the line's end, and one byte too many
    ssize_t size = ::read(file.get(), content, sizeof content);
    if (size < 0) return file_error("read the arbiter's file", path, errno);
    std::string_view text(content, static_cast<size_t>(size));
    std::string_view name = text.substr(0, text.find('\n'));
    if (!is_claimant_name(name) || text.size() != name.size() + 1)
        return no_term_file(path, "doesn't hold the one line of a claim");
    return std::optional(std::string(name));
}

std::string term_path(const std::string& folder, const std::string& vm, Term term) {
    return fmt::format("{}/{}{}{}", folder, vm, kInfix, term.value());
}

int write_claim(const std::string& path, const std::string& claimant) {
    FileDescriptor file(open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
    if (!file) return errno;
    std::string line = claimant + "\n";
    ssize_t written = ::write(file.get(), line.data(), line.size());
    if (written < 0) return errno;
    if (static_cast<size_t>(written) != line.size()) return ENOSPC;
    return fsync(file.get()) < 0 ? errno : 0;
}

/// The atomic step; 0 where the term file exists afterwards, made by whomever. The link count is asked as
/// well as link() itself, whose reply NFS may lose.
int make_term_file(const std::string& folder, const std::string& vm, const std::string& term_file,
                   const std::string& claimant) {
    std::string temporary = fmt::format("{}/.{}.claim-{}.tmp", folder, vm, random_name());
    int failure = write_claim(temporary, claimant);
    if (failure == 0 && link(temporary.c_str(), term_file.c_str()) < 0 && errno != EEXIST) {
        failure = errno;
        struct stat info {};
        if (stat(temporary.c_str(), &info) == 0 && info.st_nlink == 2) failure = 0;
    }
    unlink(temporary.c_str());
    return failure;
}

int sync_folder(const std::string& folder) {
    FileDescriptor opened(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!opened) return errno;
    return fsync(opened.get()) < 0 && errno != EINVAL ? errno : 0;
}

}  // namespace

ClaimAnswer claim_in_folder(const std::string& folder, const std::string& vm, Term term,
                            const std::string& claimant) {
    std::string term_file = term_path(folder, vm, term);
    Result<std::optional<std::string>> winner = read_winner(term_file);
    if (!winner) return {Verdict::kUnreachable, winner.error().message()};
    int failure = winner.value() ? 0 : make_term_file(folder, vm, term_file, claimant);
    // What the term file holds decides, whoever made it, and only once it is certain to stay.
    if (failure == 0) failure = sync_folder(folder);
    if (failure != 0) return unreachable(folder, failure);
    winner = read_winner(term_file);
    if (!winner) return {Verdict::kUnreachable, winner.error().message()};
    if (!winner.value()) return unreachable(folder, ENOENT);
    return *winner.value() == claimant ? ClaimAnswer{Verdict::kWon, {}}
                                       : ClaimAnswer{Verdict::kLost, *winner.value()};
}

std::string winner_in_folder(const std::string& folder, const std::string& vm, Term term) {
    Result<std::optional<std::string>> winner = read_winner(term_path(folder, vm, term));
    return winner.ok() ? winner.value().value_or("") : "";
}

TermAnswer latest_term_in_folder(const std::string& folder, const std::string& vm) {
    DIR* directory = opendir(folder.c_str());
    if (!directory) return {false, {}, unreachable(folder, errno).detail};
    std::string prefix = vm + kInfix;
    uint64_t latest = 0;
    errno = 0;
    while (dirent* entry = readdir(directory)) {
        std::string_view name = entry->d_name;
        if (!name.starts_with(prefix)) continue;
        std::string number(name.substr(prefix.size()));
        bool digits = !number.empty() && number.find_first_not_of("0123456789") == std::string::npos;
        if (digits && number.size() < 20) latest = std::max<uint64_t>(latest, std::stoull(number));
        errno = 0;
    }
    int failure = errno;
    closedir(directory);
    if (failure != 0) return {false, {}, unreachable(folder, failure).detail};
    return {true, Term(latest), {}};
}

namespace {

/// A thread for calls that may hang. It is never joined: where the storage hangs it outlives its owner, which
/// it reaches only through this shared state.
class StorageThread {
  public:
    explicit StorageThread(EventLoop& loop) : state_(std::make_shared<State>()) {
        state_->loop = &loop;
        std::thread([state = state_] { work(*state); }).detach();
    }
    ~StorageThread() {
        std::lock_guard lock(state_->mutex);
        state_->loop = nullptr;
        state_->jobs.clear();
        state_->changed.notify_one();
    }

    /// Runs `job` on the thread, then the callback that it returns on the loop. Not begun where `cancelled`
    /// has become true by then.
    void run(std::function<Callback()> job, std::shared_ptr<std::atomic<bool>> cancelled) {
        std::lock_guard lock(state_->mutex);
        state_->jobs.push_back({std::move(job), std::move(cancelled)});
        state_->changed.notify_one();
    }

  private:
    struct Job {
        std::function<Callback()> work;
        std::shared_ptr<std::atomic<bool>> cancelled;
    };
    struct State {
        std::mutex mutex;
        std::condition_variable changed;
        EventLoop* loop;  // null: the owner is gone
        std::deque<Job> jobs;
    };

    static void work(State& state) {
        std::unique_lock lock(state.mutex);
        for (;;) {
            state.changed.wait(lock, [&] { return !state.loop || !state.jobs.empty(); });
            if (!state.loop) return;
            Job job = std::move(state.jobs.front());
            state.jobs.pop_front();
            if (*job.cancelled) continue;
            lock.unlock();
            Callback report = job.work();
            lock.lock();
            if (state.loop) state.loop->post(std::move(report));
        }
    }

    std::shared_ptr<State> state_;
};

class FolderArbiter final : public Arbiter {
  public:
    FolderArbiter(EventLoop& loop, FolderArbiterOptions options)
        : loop_(loop), options_(std::move(options)), claims_(loop), renewals_(loop) {}

    void claim(const std::string& vm, Term term, std::function<void(const ClaimAnswer&)> answer) override {
        ask<ClaimAnswer>(
            claims_,
            [folder = options_.folder, vm, term, claimant = options_.claimant] {
                return claim_in_folder(folder, vm, term, claimant);
            },
            {Verdict::kUnreachable, timeout_sentence()}, std::move(answer));
    }

    void look(const std::string& vm, Term term, std::function<void(const TermLook&)> answer) override {
        ask<TermLook>(
            claims_, [folder = options_.folder, vm, term] { return look_in_folder(folder, vm, term); },
            {.detail = timeout_sentence()}, std::move(answer));
    }

    void renew(const std::string& vm, Term term, const std::optional<std::string>& backup,
               std::function<void(const RenewAnswer&)> answer) override {
        write(vm, term, {false, ++count_, options_.claimant, options_.host, backup}, std::move(answer));
    }

    void set_free(const std::string& vm, Term term, std::function<void()> done) override {
        write(vm, term, {true, ++count_, options_.claimant, options_.host, ""},
              [done = std::move(done)](const RenewAnswer&) { done(); });
    }

  private:
    void write(const std::string& vm, Term term, const LeaseText& text,
               std::function<void(const RenewAnswer&)> answer) {
        ask<RenewAnswer>(
            renewals_,
            [folder = options_.folder, vm, term, text] { return renew_in_folder(folder, vm, term, text); },
            {RenewAnswer::Outcome::kUnreachable, timeout_sentence()}, std::move(answer));
    }

    std::string timeout_sentence() const {
        return fmt::format(
            "the arbiter's folder {} doesn't answer within {} ms; check the storage and the way to it",
            options_.folder, options_.timeout_ns / kNsPerMs);
    }

    /// One answer reaches the asker: that of the storage or that of the timer, whichever is first.
    template <typename Answer>
    void ask(StorageThread& thread, std::function<Answer()> question, Answer when_late,
             std::function<void(const Answer&)> answer) {
        uint64_t id = next_id_++;
        auto cancelled = std::make_shared<std::atomic<bool>>(false);
        timers_[id] = loop_.call_after(options_.timeout_ns, [this, id, cancelled, when_late, answer] {
            *cancelled = true;
            timers_.erase(id);
            answer(when_late);
        });
        auto report = [this, id, answer, alive = std::weak_ptr<bool>(alive_)](const Answer& given) {
            if (!alive.expired() && timers_.erase(id) > 0) answer(given);
        };
        thread.run([question = std::move(question),
                    report]() -> Callback { return [report, given = question()] { report(given); }; },
                   cancelled);
    }

    EventLoop& loop_;
    FolderArbiterOptions options_;
    uint64_t next_id_ = 0;
    std::map<uint64_t, Timer> timers_;
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
    uint64_t count_ = 0;  ///< of renewals
    StorageThread claims_, renewals_;
};

}  // namespace

Result<std::unique_ptr<Arbiter>> create_folder_arbiter(EventLoop& loop, const FolderArbiterOptions& options) {
    if (options.folder.empty() || options.folder.front() != '/')
        return error("the arbiter's folder '{}' is no absolute path; write one that starts with /",
                     options.folder);
    if (!is_claimant_name(options.claimant))
        return error("the claimant's name '{}' must be one line of 1 to {} printable characters",
                     options.claimant, kLongestClaimant);
    return std::unique_ptr<Arbiter>(std::make_unique<FolderArbiter>(loop, options));
}

}  // namespace lockstep::host
