// SPDX-License-Identifier: Apache-2.0
#include "sample_log.h"

#include "base/check.h"
#include "record/entry_table.h"
#include "record/payloads.h"

namespace lockstep::record {

Bytes SeededRandom::bytes(size_t size) {
    Bytes result(size);
    for (uint8_t& byte : result) byte = static_cast<uint8_t>(engine_());
    return result;
}

StartInfo sample_start(Origin origin) {
    StartInfo start;
    start.build = BuildIdentity::of_sources("0.1.0", "abc1234");
    start.cpu = {"AuthenticAMD", 0x1a, 0x44, {0x7ffff}, 0xffff, 0x123456789abcdef};
    start.origin = origin;
    start.first_icount = Icount(origin == Origin::kSnapshot ? 1'000'000 : 0);
    start.configuration = {1, 2, 3, 4, 5};
    return start;
}

Entry sample_entry(SeededRandom& random, EntryKind kind, Icount icount) {
    uint16_t device = static_cast<uint16_t>(random.below(5));
    auto entry = [&](const auto& payload) { return make_entry(icount, device, payload); };
    switch (kind) {
        case EntryKind::kNetworkReceive: {
            NetworkReceive receive;
            for (size_t left = random.below(4) + 1; left; --left) {
                receive.packets.push_back(random.bytes(random.below(100)));
            }
            return entry(receive);
        }
        case EntryKind::kDiskCompletion:
            return entry(DiskCompletion{random.number(), DiskStatus::kOk, random.bytes(random.below(600))});
        case EntryKind::kConsoleInput:
            return entry(ConsoleInput{random.bytes(random.below(20))});
        case EntryKind::kRandomBytes:
            return entry(RandomBytes{random.number(), random.bytes(random.below(64) + 1)});
        case EntryKind::kTimeRate:
            return entry(TimeRate{random.number() | 1});
        case EntryKind::kTimeAdvance:
            return entry(TimeAdvance{random.below(10'000'000)});
        case EntryKind::kPowerControl:
            return entry(PowerControl{PowerAction::kButton});
        case EntryKind::kCut:
            return entry(Cut{});
        case EntryKind::kOutput:
            return entry(OutputMark{random.number()});
        case EntryKind::kStateHash:
            return entry(
                StateHashMark{random.number(), random.number(), random.below(2) != 0, random.number()});
        case EntryKind::kEnd:
            return entry(EndMark{EndReason::kPowerOff, "the guest is done"});
    }
    CHECK(false, "the sample log has no entry of kind {}: add one", static_cast<int>(kind));
}

std::vector<Entry> sample_entries(SeededRandom& random, size_t count, Icount first) {
    std::vector<Entry> entries;
    Icount icount = first;
    for (size_t i = 0; i < count; ++i) {
        EntryKind kind =
            i < entry_kinds().size() ? entry_kinds()[i] : entry_kinds()[random.below(entry_kinds().size())];
        icount += random.below(1 << random.below(24));
        entries.push_back(sample_entry(random, kind, icount));
    }
    return entries;
}

CollectingSink write_log(const StartInfo& start, const Bytes& snapshot, const std::vector<Entry>& entries,
                         size_t per_frame, Compression compression) {
    CollectingSink sink;
    LogWriterOptions options;
    options.compression = compression;
    LogWriter writer(sink, options);
    writer.start(start);
    if (start.origin == Origin::kSnapshot) writer.snapshot(snapshot);
    for (size_t i = 0; i < entries.size(); ++i) {
        writer.append(entries[i]);
        if ((i + 1) % per_frame == 0) writer.flush();
    }
    writer.end();
    return sink;
}

}  // namespace lockstep::record
