// SPDX-License-Identifier: Apache-2.0
#include "host/disk_format.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <string_view>

#include "host/file_descriptor.h"
#include "host/files.h"

namespace lockstep::host {

namespace {

using namespace std::string_view_literals;

enum class Place : uint8_t { kHead, kTail };

struct Signature {
    std::string_view name;
    Place place;
    size_t offset;
    std::string_view bytes;
    std::string_view remedy;
};

constexpr std::string_view kConvert = "qemu-img convert -O raw IN OUT";

// Of the formats that hypervisors and those who publish images use.
constexpr Signature kSignatures[] = {
    {"qcow2", Place::kHead, 0, "QFI\xfb"sv, kConvert},
    {"QED", Place::kHead, 0, "QED\0"sv, kConvert},
    {"VMDK", Place::kHead, 0, "KDMV"sv, kConvert},
    {"VMDK", Place::kHead, 0, "COWD"sv, kConvert},
    {"VMDK", Place::kHead, 0, "# Disk DescriptorFile"sv, kConvert},
    {"VHDX", Place::kHead, 0, "vhdxfile"sv, kConvert},
    {"VHD", Place::kHead, 0, "conectix"sv, "qemu-img convert -f vpc -O raw IN OUT"},
    {"VHD", Place::kTail, 0, "conectix"sv, "qemu-img convert -f vpc -O raw IN OUT"},
    {"VDI", Place::kHead, 0x40, "\x7f\x10\xda\xbe"sv, kConvert},
    {"Parallels", Place::kHead, 0, "WithoutFreeSpace"sv, kConvert},
    {"Parallels", Place::kHead, 0, "WithouFreSpacExt"sv, kConvert},
    {"DMG", Place::kTail, 0, "koly\0\0\0\4"sv, kConvert},
    {"gzip", Place::kHead, 0, "\x1f\x8b\x08"sv, "gzip -dc IN > OUT"},
    {"xz", Place::kHead, 0,
     "\xfd"
     "7zXZ\0"sv,
     "xz -dc IN > OUT"},
    {"bzip2", Place::kHead, 0, "BZh"sv, "bzip2 -dc IN > OUT"},
    {"zstd", Place::kHead, 0, "\x28\xb5\x2f\xfd"sv, "zstd -dc IN > OUT"},
    {"zip", Place::kHead, 0, "PK\3\4"sv, "unzip IN"},
};

bool begins_with(ByteSpan bytes, size_t offset, std::string_view wanted) {
    if (bytes.size() < offset + wanted.size()) return false;
    return std::memcmp(bytes.data() + offset, wanted.data(), wanted.size()) == 0;
}

std::string with_names(std::string_view command, const std::string& path) {
    std::string text(command);
    for (auto [word, name] : {std::pair{"IN"sv, path}, {"OUT"sv, path + ".raw"}})
        if (size_t at = text.find(word); at != std::string::npos) text.replace(at, word.size(), name);
    return text;
}

Result<Bytes> read_at(int fd, const std::string& path, off_t offset, size_t size) {
    Bytes bytes(size);
    ssize_t got = pread(fd, bytes.data(), size, offset);
    if (got < 0) return file_error("read disk image", path, errno);
    bytes.resize(static_cast<size_t>(got));
    return bytes;
}

}  // namespace

ImageFormat recognise_image(ByteSpan head, ByteSpan tail) {
    for (const Signature& signature : kSignatures) {
        ByteSpan bytes = signature.place == Place::kHead ? head : tail;
        if (begins_with(bytes, signature.offset, signature.bytes))
            return {std::string(signature.name), std::string(signature.remedy)};
    }
    return {};
}

Result<void> check_image_is_raw(const std::string& path) {
    FileDescriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (!file) return file_error("open disk image", path, errno);
    off_t end = lseek(file.get(), 0, SEEK_END);
    off_t tail_start = end > static_cast<off_t>(kTailBytes) ? end - static_cast<off_t>(kTailBytes) : 0;
    Bytes head = TRY(read_at(file.get(), path, 0, kHeadBytes));
    Bytes tail = TRY(read_at(file.get(), path, tail_start, kTailBytes));
    ImageFormat format = recognise_image(head, tail);
    if (format.name.empty()) return {};
    return error(
        "disk image {} is no raw image but {}; make one of it with '{}', or set format = \"raw\" if the "
        "guest "
        "is to see these very bytes",
        path, format.name, with_names(format.remedy, path));
}

}  // namespace lockstep::host
