// SPDX-License-Identifier: Apache-2.0
#include "host/files.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>

#include "host/log_file.h"
#include "support.h"

namespace lockstep::host {
namespace {

TEST(Files, AreWrittenWholeAndReadBack) {
    TemporaryFolder folder;
    Bytes content(100'000);
    fill_random(content);
    std::string path = folder / "file";
    ASSERT_TRUE(write_file_atomically(path, to_bytes("old")).ok());
    ASSERT_TRUE(write_file_atomically(path, content).ok());
    EXPECT_EQ(read_file(path).value(), content);
    MappedFile mapped = MappedFile::open(path).take();
    EXPECT_EQ(Bytes(mapped.bytes().begin(), mapped.bytes().end()), content);
    size_t count = 0;
    for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(folder.path())) count++;
    EXPECT_EQ(count, 1u) << "no temporary file is left";
}

TEST(Files, FilesOfTheKernelAndEmptyOnesCanBeRead) {
    EXPECT_FALSE(read_text("/proc/self/status").value().empty());
    TemporaryFolder folder;
    ASSERT_TRUE(write_file_atomically(folder / "empty", {}).ok());
    EXPECT_TRUE(read_file(folder / "empty").value().empty());
    EXPECT_TRUE(MappedFile::open(folder / "empty").value().bytes().empty());
}

TEST(Files, ErrorsNameTheFileAndTheRemedy) {
    TemporaryFolder folder;
    auto missing = read_file(folder / "missing");
    ASSERT_FALSE(missing.ok());
    expect_contains(missing.error().message(), folder / "missing");
    expect_contains(missing.error().message(), "check the path");
    EXPECT_FALSE(read_file(folder.path()).ok()) << "a folder";
    EXPECT_FALSE(MappedFile::open(folder / "missing").ok());
    auto nowhere = write_file_atomically("/nonexistent/file", {});
    ASSERT_FALSE(nowhere.ok());
    expect_contains(nowhere.error().message(), "/nonexistent/file");
    EXPECT_TRUE(make_folders(folder / "a/b/c").ok());
    EXPECT_TRUE(make_folders(folder / "a/b/c").ok());
    ASSERT_TRUE(write_file_atomically(folder / "file", {}).ok());
    EXPECT_FALSE(make_folders(folder / "file/below").ok());
}

TEST(Files, TheConfigFolderCanBeChosen) {
    setenv("LOCKSTEP_CONFIG", "/some/where", 1);
    EXPECT_EQ(config_folder(), "/some/where");
    unsetenv("LOCKSTEP_CONFIG");
    EXPECT_FALSE(config_folder().empty());
}

TEST(LogFile, WhatIsAppendedIsInTheFileInOrder) {
    TemporaryFolder folder;
    auto writer = LogFileWriter::create({.path = folder / "log", .buffer_bytes = 1 << 20},
                                        [](const Error& e) { ADD_FAILURE() << e.message(); });
    ASSERT_TRUE(writer.ok());
    Bytes all;
    for (uint32_t i = 0; i < 20'000; i++) {
        Bytes part;
        ByteWriter(part).fixed(i);
        part.resize(4 + i % 700);
        all.insert(all.end(), part.begin(), part.end());
        writer.value()->append(part);
        EXPECT_LE(writer.value()->queued_bytes(), (1u << 20) + 1000);
    }
    EXPECT_TRUE(writer.value()->close().ok());
    EXPECT_EQ(writer.value()->queued_bytes(), 0u);
    EXPECT_EQ(read_file(folder / "log").value(), all);
}

TEST(LogFile, TheDestructorWritesTheRest) {
    TemporaryFolder folder;
    LogFileWriter::create({.path = folder / "log"}, {}).take()->append(to_bytes("short"));
    EXPECT_EQ(read_text(folder / "log").value(), "short");
}

TEST(LogFile, AnExistingFileIsNotOverwritten) {
    TemporaryFolder folder;
    ASSERT_TRUE(write_file_atomically(folder / "log", to_bytes("precious")).ok());
    auto refused = LogFileWriter::create({.path = folder / "log"}, {});
    ASSERT_FALSE(refused.ok());
    expect_contains(refused.error().message(), "choose another name");
    EXPECT_EQ(read_text(folder / "log").value(), "precious");
}

// The limit of a file's size stands for the full disk here; full_disk_test has a real one.
TEST(LogFile, AFullDiskEndsTheRecordingAndBlocksNothing) {
    TemporaryFolder folder;
    std::signal(SIGXFSZ, SIG_IGN);
    rlimit before{};
    getrlimit(RLIMIT_FSIZE, &before);
    rlimit small = before;
    small.rlim_cur = 1 << 20;
    setrlimit(RLIMIT_FSIZE, &small);
    int failures = 0;
    auto writer = LogFileWriter::create({.path = folder / "log", .buffer_bytes = 1 << 18},
                                        [&](const Error&) { failures++; });
    Bytes part(10'000, 7);
    for (int i = 0; i < 1000; i++) writer.value()->append(part);
    auto result = writer.value()->close();
    setrlimit(RLIMIT_FSIZE, &before);
    ASSERT_FALSE(result.ok());
    expect_contains(result.error().message(), folder / "log");
    EXPECT_EQ(failures, 1);
    EXPECT_EQ(read_file(folder / "log").value(), Bytes(1 << 20, 7)) << "a prefix";
}

TEST(Random, BytesDiffer) {
    EXPECT_NE(random_name(), random_name());
    Bytes bytes(1000);
    fill_random(bytes);
    EXPECT_GT(std::count_if(bytes.begin(), bytes.end(), [](uint8_t b) { return b != 0; }), 900);
}

}  // namespace
}  // namespace lockstep::host
