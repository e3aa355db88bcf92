// SPDX-License-Identifier: Apache-2.0
#include "host/term_lease.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <future>
#include <thread>

#include "host/arbiter.h"
#include "host/clock.h"
#include "host/file_descriptor.h"
#include "host/files.h"

namespace lockstep::host {

namespace {

constexpr size_t kLeaseBytes = 768;
constexpr size_t kLongestName = 200;
/// Terms in a row that were claimed and whose owners haven't said on which hosts the VM is.
constexpr uint64_t kMostSilentTerms = 256;

std::string lease_path(const std::string& folder, const std::string& vm, Term term) {
    return fmt::format("{}/{}.lease-{}", folder, vm, term.value());
}

std::string date_text() {
    auto now = static_cast<time_t>(wall_clock_ns() / kNsPerSecond);
    tm parts{};
    gmtime_r(&now, &parts);
    char text[32];
    return {text, strftime(text, sizeof text, "%FT%TZ", &parts)};
}

std::string one_line(std::string name) {
    std::erase_if(name, [](char c) { return c < ' ' || c > '~'; });
    return name.substr(0, kLongestName);
}

/// Always of the same size, so that a renewal changes no more than the file's bytes.
std::string file_text(const LeaseText& lease) {
    std::string protection;
    if (lease.backup)
        protection = lease.backup->empty() ? "alone\n" : fmt::format("backup {}\n", one_line(*lease.backup));
    std::string text =
        fmt::format("{}\ncount {}\nowner {}\nhost {}\n{}time {}\n", lease.free ? "free" : "held", lease.count,
                    lease.owner.substr(0, 64), one_line(lease.host), protection, date_text());
    text.resize(kLeaseBytes, '\n');
    return text;
}

int write_lease(const std::string& path, const std::string& text) {
    FileDescriptor file(open(path.c_str(), O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0644));
    if (!file) return errno;
    ssize_t written = pwrite(file.get(), text.data(), text.size(), 0);
    if (written < 0) return errno;
    if (static_cast<size_t>(written) != text.size()) return ENOSPC;
    // For others to see it, where the file system waits with what it sends.
    return fdatasync(file.get()) < 0 ? errno : 0;
}

/// What the line of `name` says, what isn't printable left out.
std::string field(const std::string& text, const std::string& name) {
    size_t start = text.find("\n" + name + " ");
    if (start == std::string::npos) return "";
    start += name.size() + 2;
    return one_line(text.substr(start, text.find('\n', start) - start));
}

/// 0, or an errno; no file is an empty text.
int read_lease(const std::string& path, std::string& text) {
    FileDescriptor file(open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    if (!file) return errno == ENOENT ? 0 : errno;
    struct stat info {};
    if (fstat(file.get(), &info) < 0) return errno;
    if (!S_ISREG(info.st_mode)) return EINVAL;
    char content[kLeaseBytes];
    ssize_t size = pread(file.get(), content, sizeof content, 0);
    if (size < 0) return errno;
    text.assign(content, static_cast<size_t>(size));
    return 0;
}

bool is_free(const std::string& lease) { return lease.starts_with("free\n"); }

/// Of the newest lease, from that of `term` on, which says on which hosts the VM is.
Result<ProtectedBy> find_pair(const std::string& folder, const std::string& vm, Term term) {
    for (uint64_t number = term.value(), read = 0; number > 0; --number, ++read) {
        std::string path = lease_path(folder, vm, Term(number));
        if (read == kMostSilentTerms)
            return error(
                "none of the {} newest terms of VM {} at the arbiter says on which hosts it is; see who "
                "claims "
                "them, and remove their files {} and below while the VM is off",
                kMostSilentTerms, vm, path);
        std::string lease;
        if (int failure = read_lease(path, lease))
            return file_error("read the arbiter's file", path, failure);
        if (is_free(lease) || lease.find("\nalone\n") != std::string::npos) return ProtectedBy{};
        if (std::string backup = field(lease, "backup"); !backup.empty())
            return ProtectedBy{field(lease, "host"), backup};
    }
    return ProtectedBy{};
}

}  // namespace

RenewAnswer renew_in_folder(const std::string& folder, const std::string& vm, Term term,
                            const LeaseText& text) {
    using enum RenewAnswer::Outcome;
    std::string path = lease_path(folder, vm, term);
    if (int failure = write_lease(path, file_text(text)))
        return {kUnreachable, file_error("renew the arbiter's file", path, failure).message()};
    // In this order: whoever claims a newer term looks at this lease afterwards, so one of the two sees the other.
    TermLook look = look_in_folder(folder, vm, Term(0));
    if (!look.reachable) return {kUnreachable, look.detail};
    if (look.latest <= term) return {kRenewed, {}};
    return {kSuperseded, fmt::format("term {} was claimed at the arbiter by {}", look.latest.value(),
                                     look.owner.empty() ? "somebody" : look.owner)};
}

TermLook look_in_folder(const std::string& folder, const std::string& vm, Term term) {
    TermAnswer latest = latest_term_in_folder(folder, vm);
    if (!latest.reachable) return {.detail = latest.detail};
    TermLook look{.reachable = true, .latest = latest.latest};
    look.winner = winner_in_folder(folder, vm, latest.latest);
    std::string path = lease_path(folder, vm, term == Term(0) ? latest.latest : term);
    if (int failure = read_lease(path, look.lease))
        return {.detail = file_error("read the arbiter's file", path, failure).message()};
    look.free = is_free(look.lease);
    std::string owner = field(look.lease, "owner"), host = field(look.lease, "host");
    if (!owner.empty()) look.owner = fmt::format("process {} on {}", owner, host);
    Result<ProtectedBy> pair = find_pair(folder, vm, term == Term(0) ? latest.latest : term);
    if (!pair) return {.detail = pair.error().message()};
    look.pair = pair.take();
    return look;
}

TermLook look_in_folder_in_time(const std::string& folder, const std::string& vm, Term term,
                                uint64_t timeout_ns) {
    auto look = std::make_shared<std::promise<TermLook>>();
    std::future<TermLook> answer = look->get_future();
    std::thread([look, folder, vm, term] { look->set_value(look_in_folder(folder, vm, term)); }).detach();
    if (answer.wait_for(std::chrono::nanoseconds(timeout_ns)) == std::future_status::ready)
        return answer.get();
    return {.detail = fmt::format("the arbiter's folder {} doesn't answer within {} ms", folder,
                                  timeout_ns / kNsPerMs)};
}

}  // namespace lockstep::host
