// SPDX-License-Identifier: Apache-2.0
#include "vmm/file_recording.h"

#include <unistd.h>

#include <utility>

#include "host/host_cpu.h"
#include "memory/page_records.h"
#include "record/payloads.h"
#include "vmm/version.h"

namespace lockstep::vmm {

namespace {

/// What waits for the disk at most. A guest whose pages are written there waits for it, too: so it is little.
constexpr size_t kBufferBytes = 16 << 20;

}  // namespace

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
        {.path = path, .buffer_bytes = kBufferBytes},
        [&loop, failed](const Error& why) { loop.post([failed, why] { failed(why); }); }));
    return recording;
}

FileRecording::~FileRecording() {
    if (!file_ || tells_start_) return;
    file_.reset();
    ::unlink(path_.c_str());
}

void FileRecording::begin(ByteSpan configuration) {
    start(record::Origin::kFreshBoot, configuration, LogPos(0), Icount(0));
    tells_start_ = true;
}

void FileRecording::begin_snapshot(ByteSpan configuration, LogPos position, Icount icount) {
    start(record::Origin::kSnapshot, configuration, position, icount);
}

void FileRecording::end_snapshot(ByteSpan state) {
    Bytes last;
    ByteWriter out(last);
    memory::write_page_end(out);
    out.raw(state);
    writer_->snapshot_piece(last, true);
    tells_start_ = true;
    for (const record::Entry& entry : std::exchange(waiting_, {})) writer_->append(entry);
}

void FileRecording::append(const record::Entry& entry) {
    if (tells_start_)
        writer_->append(entry);
    else
        waiting_.push_back(entry);
}

void FileRecording::start(record::Origin origin, ByteSpan configuration, LogPos position, Icount icount) {
    record::FrameSink& sink = *this;
    writer_ = std::make_unique<record::LogWriter>(sink, record::LogWriterOptions{}, position);
    writer_->start({.build = identity_.build,
                    .cpu = identity_.cpu,
                    .origin = origin,
                    .first_icount = icount,
                    .configuration = Bytes(configuration.begin(), configuration.end())});
}

void FileRecording::frame(ByteSpan bytes, LogPos) { file_->append(bytes); }

Result<void> FileRecording::finish(Icount icount, record::EndReason reason) {
    if (reason == record::EndReason::kStopped)
        writer_->append(record::make_entry(icount, 0, record::EndMark{reason, "the recording was stopped"}));
    writer_->end();
    return file_->close();
}

}  // namespace lockstep::vmm
