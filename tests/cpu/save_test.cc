// SPDX-License-Identifier: Apache-2.0
#include "cpu/save.h"

#include <gtest/gtest.h>

#include <cstring>

namespace lockstep::cpu {
namespace {

/// A state in which every byte that is part of it differs from the initial one.
CpuState filled() {
    CpuState state;
    auto* bytes = reinterpret_cast<uint8_t*>(&state);
    for (size_t i = 0; i < sizeof state; ++i) bytes[i] = static_cast<uint8_t>(i * 31 + 17);
    return state;
}

TEST(Save, LoadsWhatWasSaved) {
    CpuState state = filled(), loaded;
    Bytes bytes, again;
    ByteWriter writer(bytes), second(again);
    save(state, writer);
    ByteReader reader(bytes);
    ASSERT_TRUE(load(loaded, reader).ok());
    EXPECT_EQ(reader.remaining(), 0u);
    save(loaded, second);
    EXPECT_EQ(bytes, again);
    EXPECT_EQ(loaded.icount, state.icount);
    EXPECT_EQ(loaded.mtrr_def_type, state.mtrr_def_type);
}

TEST(Save, CoversEveryFieldAndNoPadding) {
    // All fields of CpuState but the engine's slots, the reserved bytes before the float image and alignment.
    size_t expected = offsetof(CpuState, halted) + 2 + sizeof(FxState) + sizeof(UpperHalves) -
                      sizeof CpuState::engine_slots;
    Bytes bytes;
    ByteWriter writer(bytes);
    save(filled(), writer);
    EXPECT_EQ(bytes.size(), expected);
}

bool is_slot(size_t at) {
    return at >= offsetof(CpuState, engine_slots) && at < offsetof(CpuState, segments);
}

TEST(Save, TheEnginesSlotsAreNoState) {
    CpuState state, other;
    other.engine_slots.fill(0x40);
    EXPECT_EQ(hash(state), hash(other));
}

TEST(Save, EveryFieldChangesTheHash) {
    CpuState state;
    uint64_t plain = hash(state);
    for (size_t i = 0; i < sizeof state; ++i) {
        bool reserved = i >= offsetof(CpuState, upper_halves_used) && i < offsetof(CpuState, fx);
        if (reserved || is_slot(i)) continue;
        reinterpret_cast<uint8_t*>(&state)[i] ^= 0x40;
        EXPECT_NE(hash(state), plain) << "byte " << i;
        reinterpret_cast<uint8_t*>(&state)[i] ^= 0x40;
    }
    EXPECT_EQ(hash(state), plain);
}

TEST(Save, RefusesADamagedState) {
    Bytes bytes;
    ByteWriter writer(bytes);
    save(CpuState{}, writer);
    bytes.pop_back();
    ByteReader reader(bytes);
    CpuState state;
    state.rip = 5;
    EXPECT_FALSE(load(state, reader).ok());
    EXPECT_EQ(state.rip, 5u);
}

}  // namespace
}  // namespace lockstep::cpu
