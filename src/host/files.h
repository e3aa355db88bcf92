// SPDX-License-Identifier: Apache-2.0
// Whole files and folders.
#pragma once

#include <string>

#include "base/bytes.h"
#include "base/result.h"
#include "host/file_descriptor.h"

namespace lockstep::host {

/// "cannot <action> <path>: <reason>; <remedy>", for an errno of a call on `path`.
Error file_error(const std::string& action, const std::string& path, int error_number);

Result<Bytes> read_file(const std::string& path);
Result<std::string> read_text(const std::string& path);
/// The file holds either its old content or all of the new one, whatever happens on the way.
Result<void> write_file_atomically(const std::string& path, ByteSpan content);
/// The same of a file that nobody else may read.
Result<void> write_secret_file(const std::string& path, ByteSpan content);
/// Adds to the end of a file that exists; a symbolic link is an error.
Result<void> append_to_file(const std::string& path, ByteSpan content);
/// Makes a folder and those above it; no error where it exists.
Result<void> make_folders(const std::string& path);

/// Where configurations of VMs are looked for: $LOCKSTEP_CONFIG, or /etc/lockstep for root, or
/// $XDG_CONFIG_HOME/lockstep (~/.config/lockstep).
std::string config_folder();

/// A file's bytes, mapped for reading. The file must not shrink meanwhile.
class MappedFile {
  public:
    static Result<MappedFile> open(const std::string& path);
    ~MappedFile();
    MappedFile(MappedFile&& other) noexcept : data_(other.data_), size_(other.size_) {
        other.data_ = nullptr;
        other.size_ = 0;
    }
    MappedFile& operator=(MappedFile&& other) noexcept {
        std::swap(data_, other.data_);
        std::swap(size_, other.size_);
        return *this;
    }
    ByteSpan bytes() const { return {data_, size_}; }

  private:
    MappedFile(const uint8_t* data, size_t size) : data_(data), size_(size) {}
    const uint8_t* data_;
    size_t size_;
};

}  // namespace lockstep::host
