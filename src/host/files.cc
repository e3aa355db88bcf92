// SPDX-License-Identifier: Apache-2.0
#include "host/files.h"

#include <fcntl.h>
#include <pwd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "host/random.h"

namespace lockstep::host {

namespace {

const char* remedy(int error_number) {
    switch (error_number) {
        case ENOENT:
            return "check the path";
        case EACCES:
        case EPERM:
            return "give this user the right, or run as root";
        case EROFS:
            return "mount the file system for writing, or choose another place";
        case ENOSPC:
        case EDQUOT:
            return "free some space, or choose another place";
        case EFBIG:
            return "raise the limit of file sizes (ulimit -f)";
        case EEXIST:
            return "remove it, or choose another name";
        case EISDIR:
            return "name a file, not a folder";
        case ENOTDIR:
            return "a part of the path is no folder: check it";
        case ELOOP:
            return "check the symbolic links on the path";
        case ENAMETOOLONG:
            return "choose a shorter path";
        case EMFILE:
        case ENFILE:
            return "raise the limit of open files (ulimit -n)";
        case ENOMEM:
            return "free some memory";
        case EIO:
            return "the storage fails: look at the kernel's log (dmesg)";
        case ESTALE:
            return "mount the network file system again";
        case ETXTBSY:
            return "stop the program that runs from it";
        default:
            return "check the path and its file system";
    }
}

Result<FileDescriptor> open_for_reading(const std::string& path) {
    FileDescriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file) return file_error("read", path, errno);
    struct stat info {};
    if (fstat(file.get(), &info) < 0) return file_error("read", path, errno);
    if (S_ISDIR(info.st_mode)) return file_error("read", path, EISDIR);
    return file;
}

Result<void> write_all(int fd, ByteSpan content, const std::string& path) {
    while (!content.empty()) {
        ssize_t written = ::write(fd, content.data(), content.size());
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) return file_error("write", path, errno);
        content = content.subspan(static_cast<size_t>(written));
    }
    return {};
}

/// Makes the name itself durable.
void sync_folder_of(const std::string& path) {
    std::string folder = std::filesystem::path(path).parent_path().string();
    FileDescriptor opened(open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (opened) fsync(opened.get());
}

}  // namespace

Error file_error(const std::string& action, const std::string& path, int error_number) {
    return error("cannot {} {}: {}; {}", action, path, std::strerror(error_number), remedy(error_number));
}

Result<Bytes> read_file(const std::string& path) {
    FileDescriptor file = TRY(open_for_reading(path));
    Bytes content;
    struct stat info {};
    if (fstat(file.get(), &info) == 0) content.reserve(static_cast<size_t>(info.st_size) + 1);
    for (;;) {
        size_t used = content.size();
        content.resize(std::max<size_t>(content.capacity(), used + 4096));
        ssize_t got = ::read(file.get(), content.data() + used, content.size() - used);
        content.resize(used + (got > 0 ? static_cast<size_t>(got) : 0));
        if (got == 0) return content;
        if (got < 0 && errno != EINTR) return file_error("read", path, errno);
    }
}

Result<std::string> read_text(const std::string& path) {
    Bytes content = TRY(read_file(path));
    return std::string(content.begin(), content.end());
}

namespace {

Result<void> replace_file(const std::string& path, ByteSpan content, mode_t mode) {
    std::string temporary = path + "." + random_name() + ".tmp";
    FileDescriptor file(open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode));
    if (!file) return file_error("write", path, errno);
    Result<void> result = write_all(file.get(), content, path);
    if (result.ok() && fsync(file.get()) < 0) result = file_error("write", path, errno);
    if (result.ok() && rename(temporary.c_str(), path.c_str()) < 0) result = file_error("write", path, errno);
    if (!result.ok()) {
        unlink(temporary.c_str());
        return result;
    }
    sync_folder_of(path);
    return {};
}

}  // namespace

Result<void> write_file_atomically(const std::string& path, ByteSpan content) {
    return replace_file(path, content, 0644);
}

Result<void> write_secret_file(const std::string& path, ByteSpan content) {
    return replace_file(path, content, 0600);
}

Result<void> append_to_file(const std::string& path, ByteSpan content) {
    FileDescriptor file(open(path.c_str(), O_WRONLY | O_APPEND | O_NOFOLLOW | O_CLOEXEC));
    if (!file) return file_error("write", path, errno);
    return write_all(file.get(), content, path);
}

Result<void> make_folders(const std::string& path) {
    std::error_code failure;
    std::filesystem::create_directories(path, failure);
    if (failure) return file_error("make folder", path, failure.value());
    return {};
}

std::string config_folder() {
    if (const char* chosen = std::getenv("LOCKSTEP_CONFIG")) return chosen;
    if (geteuid() == 0) return "/etc/lockstep";
    if (const char* base = std::getenv("XDG_CONFIG_HOME")) return std::string(base) + "/lockstep";
    const char* home = std::getenv("HOME");
    return std::string(home ? home : "") + "/.config/lockstep";
}

Result<MappedFile> MappedFile::open(const std::string& path) {
    FileDescriptor file = TRY(open_for_reading(path));
    struct stat info {};
    if (fstat(file.get(), &info) < 0) return file_error("read", path, errno);
    auto size = static_cast<size_t>(info.st_size);
    if (size == 0) return MappedFile(nullptr, 0);
    void* data = mmap(nullptr, size, PROT_READ, MAP_SHARED, file.get(), 0);
    if (data == MAP_FAILED) return file_error("read", path, errno);
    return MappedFile(static_cast<const uint8_t*>(data), size);
}

MappedFile::~MappedFile() {
    if (data_) munmap(const_cast<uint8_t*>(data_), size_);
}

}  // namespace lockstep::host
