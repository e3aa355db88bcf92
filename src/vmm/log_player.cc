// SPDX-License-Identifier: Apache-2.0
#include "vmm/log_player.h"

#include <algorithm>

#include "base/log.h"
#include "vmm/file_recording.h"

namespace lockstep::vmm {

namespace {

constexpr size_t kChunk = 1 << 20;

}  // namespace

LogPlayer::LogPlayer(std::string path, MachineFactory& factory, const Options& options, host::MappedFile file,
                     const record::Identity& ours, const std::atomic<bool>& aborted)
    : path_(std::move(path)),
      factory_(factory),
      options_(options),
      aborted_(aborted),
      file_(std::move(file)),
      rest_(file_.bytes()),
      reader_(ours),
      build_(ours.build) {}

Result<std::unique_ptr<LogPlayer>> LogPlayer::open(const std::string& path, MachineFactory& factory,
                                                   const Options& options, const std::atomic<bool>& aborted) {
    host::MappedFile file = TRY(host::MappedFile::open(path));
    record::Identity ours = TRY(own_identity());
    if (options.any_build) ours.builds = record::BuildRule::kAny;
    std::unique_ptr<LogPlayer> player(new LogPlayer(path, factory, options, std::move(file), ours, aborted));
    while (!player->replayer_) {
        auto frame = player->read_frame();
        if (!frame) return error("{}: {}", path, frame.error().message());
        if (!frame.value()) return error("{} holds no machine to replay; record again", path);
        TRY(player->take(*frame.value()));
    }
    return player;
}

Result<std::optional<record::Frame>> LogPlayer::read_frame() {
    while (true) {
        std::optional<record::Frame> frame = TRY(reader_.next());
        if (frame) return frame;
        if (rest_.empty()) {
            TRY(reader_.finish());
            return frame;
        }
        size_t size = std::min(kChunk, rest_.size());
        reader_.feed(rest_.first(size));
        rest_ = rest_.subspan(size);
    }
}

Result<void> LogPlayer::take(const record::Frame& frame) {
    if (auto* start = std::get_if<record::StartInfo>(&frame.content))
        return make_machine(*start, frame.header.position());
    if (auto* piece = std::get_if<record::SnapshotPiece>(&frame.content)) return restore(*piece);
    return {};
}

Result<void> LogPlayer::make_machine(const record::StartInfo& start, LogPos position) {
    if (start.build != build_)
        log_warning("build {} recorded this log, build {} replays it: they may compute differently",
                    start.build.version, build_.version);
    machine_ = TRY(factory_.create(start.configuration, options_.engine, *this, ram_bytes_));
    position_ = position;
    if (start.origin == record::Origin::kFreshBoot) make_replayer({});
    return {};
}

Result<void> LogPlayer::restore(const record::SnapshotPiece& piece) {
    if (!snapshot_) snapshot_.emplace(*machine_);
    std::optional<drive::DriverCounts> counts = TRY(snapshot_->take(piece));
    if (counts) make_replayer(*counts);
    return {};
}

void LogPlayer::make_replayer(const drive::DriverCounts& counts) {
    replayer_ = std::make_unique<drive::Replayer>(*machine_, ram_bytes_, position_, counts, aborted_);
}

const record::Entry* LogPlayer::next() {
    while (taken_ == batch_.entries.size()) {
        if (over_) return nullptr;
        auto frame = read_frame();
        over_ = !frame || !frame.value();
        if (!frame) problem_ = fmt::format("{}: {}", path_, frame.error().message());
        if (over_) return nullptr;
        if (auto* batch = std::get_if<record::EntryBatch>(&frame.value()->content)) {
            batch_ = std::move(*batch);
            taken_ = 0;
        }
    }
    return &batch_.entries[taken_];
}

drive::ReplayResult LogPlayer::apply() {
    drive::ReplayResult result = replayer_->apply(batch_.entries[taken_]);
    bool waits = result == drive::ReplayResult::kStopped || result == drive::ReplayResult::kAborted;
    if (!waits) ++taken_;
    return result;
}

void LogPlayer::output(bus::Output output) {
    if (replayer_) replayer_->count_output();
    const auto* printed = output.as<bus::ConsoleBytes>();
    if (printed && options_.console) options_.console(printed->bytes);
}

}  // namespace lockstep::vmm
