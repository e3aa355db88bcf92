// SPDX-License-Identifier: Apache-2.0
#include "host/disk_format.h"

#include <fstream>

#include "support.h"

namespace lockstep::host {
namespace {

class DiskFormat : public testing::Test {
  protected:
    /// What is said of an image of 1 MiB with `bytes` at `offset`.
    std::string verdict(size_t offset, std::string_view bytes) {
        std::string image(1 << 20, '\0');
        image.replace(offset, bytes.size(), bytes);
        std::ofstream(path_, std::ios::binary) << image;
        Result<void> raw = check_image_is_raw(path_);
        return raw ? "raw" : raw.error().message();
    }
    TemporaryFolder folder_;
    std::string path_ = folder_ / "disk";
};

TEST_F(DiskFormat, ContainersAreRecognisedAndTheRemedyIsNamed) {
    using namespace std::string_view_literals;
    struct Known {
        const char* name;
        size_t offset;
        std::string_view bytes;
    };
    for (const Known& known : {Known{"qcow2", 0, "QFI\xfb\0\0\0\3"sv},
                               {"QED", 0, "QED\0"sv},
                               {"VMDK", 0, "KDMV"sv},
                               {"VMDK", 0, "COWD"sv},
                               {"VMDK", 0, "# Disk DescriptorFile\nversion=1"sv},
                               {"VHDX", 0, "vhdxfile"sv},
                               {"VHD", 0, "conectix"sv},
                               {"VHD", (1 << 20) - 512, "conectix"sv},
                               {"VDI", 0x40, "\x7f\x10\xda\xbe"sv},
                               {"Parallels", 0, "WithoutFreeSpace"sv},
                               {"DMG", (1 << 20) - 512, "koly\0\0\0\4"sv}}) {
        std::string said = verdict(known.offset, known.bytes);
        expect_contains(said, path_ + " is no raw image but " + known.name + ";");
        expect_contains(said, "qemu-img convert");
        expect_contains(said, "-O raw " + path_ + " " + path_ + ".raw");
    }
    expect_contains(verdict(0,
                            "\xfd"
                            "7zXZ\0\0"sv),
                    "'xz -dc " + path_ + " > " + path_ + ".raw'");
    expect_contains(verdict(0, "\x1f\x8b\x08"sv), "gzip -dc");
}

TEST_F(DiskFormat, RawDisksAreLeftAlone) {
    EXPECT_EQ(verdict(0, ""), "raw");
    EXPECT_EQ(verdict(510, "\x55\xaa"), "raw") << "a boot sector";
    EXPECT_EQ(verdict(1024, "QFI\xfb"), "raw") << "what lies within is the guest's";
    EXPECT_EQ(verdict(0, "LUKS\xba\xbe"), "raw");
    EXPECT_EQ(verdict(0, "XFSB"), "raw");
    std::ofstream(path_, std::ios::binary | std::ios::trunc) << "QF";
    EXPECT_TRUE(check_image_is_raw(path_).ok()) << "shorter than any head";
}

}  // namespace
}  // namespace lockstep::host
