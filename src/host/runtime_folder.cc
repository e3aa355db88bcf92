// SPDX-License-Identifier: Apache-2.0
#include "host/runtime_folder.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>

#include "base/log.h"
#include "host/files.h"

namespace lockstep::host {

namespace {

constexpr char kAllowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
constexpr size_t kLongestName = 64;

struct flock whole_file(short type) {
    struct flock lock {};
    lock.l_type = type;
    lock.l_whence = SEEK_SET;
    return lock;
}

pid_t read_process_number(int fd) {
    char text[32] = "";
    ssize_t size = pread(fd, text, sizeof text - 1, 0);
    return size > 0 ? static_cast<pid_t>(std::strtol(text, nullptr, 10)) : 0;
}

/// The file that a path names may be another than the open one: its holder has removed it meanwhile.
bool is_still_named(int fd, const std::string& path) {
    struct stat opened {
    }, named{};
    return fstat(fd, &opened) == 0 && stat(path.c_str(), &named) == 0 && opened.st_ino == named.st_ino &&
           opened.st_dev == named.st_dev;
}

/// What a process that was killed has left in the folder would be taken for its successor's.
void remove_all_but_lock(const std::string& folder, std::string_view kept = "pid") {
    std::error_code ignored;
    for (const auto& entry : std::filesystem::directory_iterator(folder, ignored))
        if (entry.path().filename() != "pid" && entry.path().filename() != kept)
            std::filesystem::remove(entry.path(), ignored);
}

Result<void> write_own_file(const std::string& path, const std::string& text) {
    FileDescriptor file(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!file || write(file.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()))
        return file_error("write", path, errno);
    return {};
}

Result<void> write_process_number(int fd, const std::string& path) {
    std::string text = fmt::format("{}\n", getpid());
    if (ftruncate(fd, 0) < 0 || pwrite(fd, text.data(), text.size(), 0) < 0)
        return file_error("write", path, errno);
    return {};
}

/// Whether what lies in the folder is this user's, or root's: in /tmp anybody may be the first to make it.
Result<void> check_owner(const std::string& folder) {
    struct stat info {};
    if (lstat(folder.c_str(), &info) < 0) return file_error("use folder", folder, errno);
    if (!S_ISDIR(info.st_mode))
        return error(
            "{} is a link or a file, where a folder for running VMs is wanted; name the folder itself",
            folder);
    if (info.st_uid != geteuid() && info.st_uid != 0)
        return error(
            "the folder {} belongs to user {}, who could take the place of a VM there; name another by "
            "`--runtime`, or act as that user",
            folder, info.st_uid);
    if (info.st_mode & (S_IWGRP | S_IWOTH))
        return error("others may write to the folder {}; forbid it with 'chmod go-w {}'", folder, folder);
    return {};
}

/// A folder that only its user may write to, whatever the umask.
Result<void> make_own_folder(const std::string& path, mode_t mode) {
    if (mkdir(path.c_str(), mode) == 0) return {};
    int failure = errno;
    struct stat info {};
    bool exists = failure == EEXIST && lstat(path.c_str(), &info) == 0;
    if (exists && (S_ISDIR(info.st_mode) || S_ISLNK(info.st_mode))) return {};
    return file_error("make folder", path, exists ? ENOTDIR : failure);
}

}  // namespace

std::string default_runtime_base() {
    if (const char* chosen = std::getenv("LOCKSTEP_RUNTIME")) return chosen;
    if (geteuid() == 0) return "/run/lockstep";
    if (const char* session = std::getenv("XDG_RUNTIME_DIR")) return std::string(session) + "/lockstep";
    return fmt::format("/tmp/lockstep-{}", geteuid());
}

Result<void> check_vm_name(const std::string& name) {
    bool good = !name.empty() && name.size() <= kLongestName && name.front() != '.' && name.front() != '-' &&
                name.find_first_not_of(kAllowed) == std::string::npos;
    if (good) return {};
    return error(
        "'{}' can't be the name of a VM; use 1 to {} letters, digits, '.', '_' and '-', the first a letter "
        "or digit",
        name, kLongestName);
}

Result<void> make_runtime_base(const std::string& base) {
    std::filesystem::path path(base);
    if (!path.has_filename()) path = path.parent_path();  // of "/run/lockstep/"
    if (path.has_parent_path()) TRY(make_folders(path.parent_path().string()));
    TRY(make_own_folder(path.string(), 0755));
    return check_owner(path.string());
}

Result<RuntimeFolder> RuntimeFolder::create(const std::string& base, const std::string& vm,
                                            const std::optional<Claimant>& claimant) {
    TRY(check_vm_name(vm));
    TRY(make_runtime_base(base));
    std::string path = base + "/" + vm;
    std::string pid_path = path + "/pid";
    for (;;) {
        TRY(make_own_folder(path, 0700));
        FileDescriptor file(open(pid_path.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0644));
        if (!file && errno == ENOENT) continue;  // removed at this moment by a VM that ends
        if (!file) return file_error("make", pid_path, errno);
        struct flock lock = whole_file(F_WRLCK);
        if (fcntl(file.get(), F_OFD_SETLK, &lock) < 0) {
            if (errno != EAGAIN && errno != EACCES) return file_error("lock", pid_path, errno);
            return error(
                "VM {} already runs on this host, as process {}; power it off, or choose another name", vm,
                read_process_number(file.get()));
        }
        if (!is_still_named(file.get(), pid_path)) continue;
        remove_all_but_lock(path);
        RuntimeFolder folder(path, std::move(file));
        if (claimant) TRY(folder.write_claimant(*claimant));
        TRY(write_process_number(folder.lock_.get(), pid_path));
        return folder;
    }
}

RuntimeFolder::~RuntimeFolder() {
    if (!lock_) return;
    remove_all_but_lock(path_, leaves_ending_ ? "ended" : "pid");
    std::error_code ignored;
    std::filesystem::remove(path_ + "/pid", ignored);
    std::filesystem::remove(path_, ignored);
}

std::vector<std::string> RuntimeFolder::running(const std::string& base) {
    std::vector<std::string> names;
    std::error_code ignored;
    if (!check_owner(base)) return names;
    for (const auto& entry : std::filesystem::directory_iterator(base, ignored)) {
        std::string name = entry.path().filename().string();
        if (process_of(base, name) != 0) names.push_back(name);
    }
    std::sort(names.begin(), names.end());
    return names;
}

Result<pid_t> RuntimeFolder::find(const std::string& base, const std::string& vm) {
    TRY(check_vm_name(vm));
    bool exists = access(base.c_str(), F_OK) == 0;
    if (exists) TRY(check_owner(base));
    if (pid_t process = process_of(base, vm)) return process;
    std::string folder = base + "/" + vm;
    if (access(folder.c_str(), X_OK) < 0 && errno == EACCES) return file_error("look into", folder, EACCES);
    return error("no VM {} runs on this host (by {}); see `lockstep status`", vm, base);
}

Result<void> RuntimeFolder::write_claimant(const Claimant& claimant) {
    return write_own_file(path_ + "/claimant", claimant.name + "\n" + claimant.arbiter);
}

void RuntimeFolder::mark_live() const {
    if (Result<void> written = write_own_file(path_ + "/live", ""); !written)
        log_warning("{}", written.error().message());
}

void RuntimeFolder::leave_ending(const std::string& text) {
    std::filesystem::path folder(path_);
    std::string kept = kept_file(folder.parent_path().string(), folder.filename().string());
    if (access(kept.c_str(), F_OK) == 0 && write_own_file(path_ + "/ended", text)) leaves_ending_ = true;
}

bool RuntimeFolder::is_live(const std::string& base, const std::string& vm) {
    return access((base + "/" + vm + "/live").c_str(), F_OK) == 0;
}

std::string RuntimeFolder::take_ending(const std::string& base, const std::string& vm) {
    std::string folder = base + "/" + vm;
    Result<std::string> text = read_text(folder + "/ended");
    std::error_code ignored;
    std::filesystem::remove(folder + "/ended", ignored);
    if (process_of(base, vm) == 0) std::filesystem::remove(folder, ignored);  // if it is empty
    return text ? text.take() : "";
}

Result<Claimant> RuntimeFolder::claimant_of(const std::string& base, const std::string& vm) {
    std::string path = base + "/" + vm + "/claimant";
    if (access(path.c_str(), F_OK) != 0 && errno == ENOENT)
        return error("it only starts, or has no arbiter that tells whose the VM is");
    std::string text = TRY(read_text(path));
    size_t line_end = text.find('\n');
    if (line_end == std::string::npos) return error("{} doesn't hold a claimant and its arbiter", path);
    return Claimant{text.substr(0, line_end), text.substr(line_end + 1)};
}

std::optional<ProcessHandle> RuntimeFolder::holder(const std::string& base, const std::string& vm) {
    FileDescriptor file(open((base + "/" + vm + "/pid").c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
    if (!file) return std::nullopt;
    std::optional<ProcessHandle> process = ProcessHandle::open(read_process_number(file.get()));
    if (!process || !process->holds_lock(file.get())) return std::nullopt;
    return process;
}

pid_t RuntimeFolder::process_of(const std::string& base, const std::string& vm) {
    FileDescriptor file(open((base + "/" + vm + "/pid").c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
    if (!file) return 0;
    struct flock lock = whole_file(F_WRLCK);
    if (fcntl(file.get(), F_OFD_GETLK, &lock) < 0 || lock.l_type == F_UNLCK) return 0;
    return read_process_number(file.get());
}

}  // namespace lockstep::host
