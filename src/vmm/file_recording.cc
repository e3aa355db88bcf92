// SPDX-License-Identifier: Apache-2.0
#include "vmm/file_recording.h"

#include <unistd.h>

#include "host/host_cpu.h"
#include "record/payloads.h"
#include "vmm/version.h"

namespace lockstep::vmm {

Result<record::Identity> own_identity() {
    return record::Identity{TRY(host::own_build_identity(kVersion)), host::host_cpu_identity()};
}

Result<std::unique_ptr<FileRecording>> FileRecording::create(host::EventLoop& loop, const std::string& path,
                                                             x86::CpuModel guest,
                                                             std::function<void(const Error&)> failed) {
    record::Identity identity = TRY(own_identity());
    identity.cpu = identity.cpu.for_model(guest);
    std::unique_ptr<FileRecording> recording(new FileRecording(path, std::move(identity)));
    recording->file_ = TRY(host::LogFileWriter::create(
        {.path = path}, [&loop, failed](const Error& why) { loop.post([failed, why] { failed(why); }); }));
    return recording;
}

FileRecording::~FileRecording() {
    if (!file_ || writer_) return;
    file_.reset();
    ::unlink(path_.c_str());
}

void FileRecording::begin(ByteSpan configuration, const std::optional<Bytes>& state, LogPos position,
                          Icount icount) {
    record::FrameSink& sink = *this;
    writer_ = std::make_unique<record::LogWriter>(sink, record::LogWriterOptions{}, position);
    writer_->start({.build = identity_.build,
                    .cpu = identity_.cpu,
                    .origin = state ? record::Origin::kSnapshot : record::Origin::kFreshBoot,
                    .first_icount = icount,
                    .configuration = Bytes(configuration.begin(), configuration.end())});
    if (state) writer_->snapshot(*state);
}

void FileRecording::frame(ByteSpan bytes, LogPos) { file_->append(bytes); }

Result<void> FileRecording::finish(Icount icount, record::EndReason reason) {
    if (reason == record::EndReason::kStopped)
        writer_->append(record::make_entry(icount, 0, record::EndMark{reason, "the recording was stopped"}));
    writer_->end();
    return file_->close();
}

}  // namespace lockstep::vmm
