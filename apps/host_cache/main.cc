// SPDX-License-Identifier: Apache-2.0
// host_cache IMAGE PLACE: the file PLACE becomes IMAGE as a host of its own sees it, through a cache that dies
// with that host. For the laboratory, whose hosts otherwise share one kernel and one page cache.
//
// What is written to PLACE stays in this process's memory until it is flushed (fsync, fdatasync); what is
// written with O_DIRECT or O_SYNC goes to IMAGE at once, as all reads come from there. So SIGKILL is the death of
// the host's memory: PLACE is gone, and so is what wasn't flushed. SIGTERM is a host that is shut down: it
// flushes, and unmounts PLACE.
//
// It is a FUSE file system whose root is a file; it speaks to /dev/fuse without a library. Needs root.
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fuse.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/check.h"
#include "host/file_descriptor.h"

namespace {

using lockstep::Bytes;
using lockstep::ByteSpan;
using lockstep::host::FileDescriptor;

constexpr uint32_t kMostBytes = 1 << 20;  // in one request
constexpr uint64_t kBlock = 512;

/// An image, and what its host has written and not yet put down.
class CachedImage {
  public:
    explicit CachedImage(FileDescriptor image) : image_(std::move(image)) {}

    struct stat info() const {
        struct stat found {};
        CHECK(fstat(image_.get(), &found) == 0);
        return found;
    }
    Bytes read(uint64_t offset, uint64_t size) const {
        Bytes bytes(size);
        ssize_t got = pread(image_.get(), bytes.data(), size, static_cast<off_t>(offset));
        bytes.resize(got > 0 ? static_cast<size_t>(got) : 0);
        uint64_t end = offset + bytes.size();
        for (auto at = dirty_.lower_bound(offset / kBlock * kBlock); at != dirty_.end() && at->first < end;
             ++at) {
            for (uint64_t i = 0; i < kBlock; ++i) {
                uint64_t place = at->first + i;
                if (place >= offset && place < end) bytes[place - offset] = at->second[i];
            }
        }
        return bytes;
    }
    bool write_through(uint64_t offset, ByteSpan bytes) {
        // What the cache holds of these places is older.
        for (size_t i = 0; i < bytes.size(); ++i) {
            auto cached = dirty_.find((offset + i) / kBlock * kBlock);
            if (cached != dirty_.end()) cached->second[(offset + i) % kBlock] = bytes[i];
        }
        return put_down(offset, bytes);
    }
    void write_cached(uint64_t offset, ByteSpan bytes) {
        for (size_t i = 0; i < bytes.size(); ++i) {
            uint64_t block = (offset + i) / kBlock * kBlock;
            auto cached = dirty_.find(block);
            if (cached == dirty_.end()) cached = dirty_.emplace(block, load(block)).first;
            cached->second[(offset + i) % kBlock] = bytes[i];
        }
    }
    bool flush() {
        for (auto& [offset, block] : dirty_)
            if (!put_down(offset, block)) return false;
        dirty_.clear();
        return true;
    }

  private:
    using Block = std::array<uint8_t, kBlock>;

    Block load(uint64_t offset) const {
        Block block{};
        CHECK(pread(image_.get(), block.data(), kBlock, static_cast<off_t>(offset)) >= 0);
        return block;
    }
    bool put_down(uint64_t offset, ByteSpan bytes) {
        return pwrite(image_.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset)) ==
               static_cast<ssize_t>(bytes.size());
    }

    FileDescriptor image_;
    std::map<uint64_t, Block> dirty_;
};

/// The kernel's requests, answered one after the other.
class Server {
  public:
    Server(FileDescriptor fuse, CachedImage image) : fuse_(std::move(fuse)), image_(std::move(image)) {}

    /// Until PLACE is unmounted, or a signal comes.
    void serve(const volatile sig_atomic_t& stopped) {
        std::vector<uint8_t> request(kMostBytes + 8192);
        while (stopped == 0) {
            ssize_t got = read(fuse_.get(), request.data(), request.size());
            if (got < 0 && (errno == EINTR || errno == ENOENT || errno == EAGAIN)) continue;
            if (got < 0) return;
            ByteSpan bytes(request.data(), static_cast<size_t>(got));
            answer(*header_of<fuse_in_header>(bytes), bytes.subspan(sizeof(fuse_in_header)));
        }
    }
    void flush() { image_.flush(); }

  private:
    template <typename T>
    static const T* header_of(ByteSpan bytes) {
        CHECK(bytes.size() >= sizeof(T));
        return reinterpret_cast<const T*>(bytes.data());
    }
    template <typename T>
    static ByteSpan bytes_of(const T& value) {
        return {reinterpret_cast<const uint8_t*>(&value), sizeof value};
    }

    void answer(const fuse_in_header& header, ByteSpan rest) {
        switch (header.opcode) {
            case FUSE_INIT:
                return reply(header, bytes_of(features()));
            case FUSE_GETATTR:
                return reply(header, bytes_of(attributes()));
            case FUSE_OPEN:
                return reply(header,
                             bytes_of(fuse_open_out{.fh = 0, .open_flags = FOPEN_DIRECT_IO, .padding = 0}));
            case FUSE_READ: {
                const auto& wanted = *header_of<fuse_read_in>(rest);
                return reply(header, image_.read(wanted.offset, wanted.size));
            }
            case FUSE_WRITE:
                return write(header, *header_of<fuse_write_in>(rest), rest.subspan(sizeof(fuse_write_in)));
            case FUSE_FSYNC:
                return image_.flush() ? reply(header, {}) : refuse(header, EIO);
            case FUSE_FLUSH:  // a file that is closed isn't flushed by that
            case FUSE_RELEASE:
            case FUSE_DESTROY:
                return reply(header, {});
            case FUSE_FORGET:
            case FUSE_BATCH_FORGET:
            case FUSE_INTERRUPT:
                return;
            default:
                return refuse(header, ENOSYS);
        }
    }
    void write(const fuse_in_header& header, const fuse_write_in& wanted, ByteSpan bytes) {
        bytes = bytes.first(wanted.size);
        if ((wanted.flags & (O_DIRECT | O_SYNC | O_DSYNC)) == 0)
            image_.write_cached(wanted.offset, bytes);
        else if (!image_.write_through(wanted.offset, bytes))
            return refuse(header, EIO);
        reply(header, bytes_of(fuse_write_out{.size = wanted.size, .padding = 0}));
    }
    static fuse_init_out features() {
        fuse_init_out out{};
        out.major = FUSE_KERNEL_VERSION;
        out.minor = FUSE_KERNEL_MINOR_VERSION;
        out.max_readahead = kMostBytes;
        out.flags = FUSE_BIG_WRITES | FUSE_MAX_PAGES | FUSE_ASYNC_READ | FUSE_ASYNC_DIO;
        out.max_background = out.congestion_threshold = 64;
        out.max_write = kMostBytes;
        out.max_pages = kMostBytes / 4096;
        out.time_gran = 1;
        return out;
    }
    fuse_attr_out attributes() const {
        struct stat info = image_.info();
        fuse_attr_out out{};
        out.attr_valid = 1;
        out.attr.ino = FUSE_ROOT_ID;
        out.attr.size = static_cast<uint64_t>(info.st_size);
        out.attr.blocks = out.attr.size / 512;
        out.attr.mode = S_IFREG | 0600;
        out.attr.nlink = 1;
        out.attr.blksize = 4096;
        return out;
    }
    void reply(const fuse_in_header& header, ByteSpan bytes) { send(header, 0, bytes); }
    void refuse(const fuse_in_header& header, int error) { send(header, -error, {}); }
    void send(const fuse_in_header& header, int error, ByteSpan bytes) {
        fuse_out_header out{
            .len = static_cast<uint32_t>(sizeof out + bytes.size()), .error = error, .unique = header.unique};
        std::array<iovec, 2> parts = {iovec{&out, sizeof out},
                                      iovec{const_cast<uint8_t*>(bytes.data()), bytes.size()}};
        // A request that was interrupted meanwhile is unknown to the kernel (ENOENT).
        (void)!writev(fuse_.get(), parts.data(), bytes.empty() ? 1 : 2);
    }

    FileDescriptor fuse_;
    CachedImage image_;
};

volatile sig_atomic_t stopped = 0;

int fail(const std::string& sentence) {
    fmt::print(stderr, "host_cache: {}\n", sentence);
    return 1;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 3) return fail("say IMAGE and PLACE; see the head of apps/host_cache/main.cc");
    std::string path = argv[1], place = argv[2];
    FileDescriptor image(open(path.c_str(), O_RDWR | O_CLOEXEC));
    if (!image) return fail(fmt::format("cannot open {}: {}", path, std::strerror(errno)));
    FileDescriptor fuse(open("/dev/fuse", O_RDWR | O_CLOEXEC));
    if (!fuse) return fail(fmt::format("cannot open /dev/fuse: {}", std::strerror(errno)));
    std::string options = fmt::format("fd={},rootmode={:o},user_id=0,group_id=0,allow_other,max_read={}",
                                      fuse.get(), S_IFREG | 0600, kMostBytes);
    if (mount("host_cache", place.c_str(), "fuse", MS_NOSUID | MS_NODEV, options.c_str()) != 0)
        return fail(fmt::format("cannot mount on {}: {}", place, std::strerror(errno)));
    struct sigaction action {};
    action.sa_handler = [](int) { stopped = 1; };
    sigaction(SIGTERM, &action, nullptr);
    sigaction(SIGINT, &action, nullptr);
    Server server(std::move(fuse), CachedImage(std::move(image)));
    server.serve(stopped);
    server.flush();
    umount2(place.c_str(), MNT_DETACH);
    return 0;
}
