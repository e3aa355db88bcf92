// SPDX-License-Identifier: Apache-2.0
#include "generate_parts.h"

#include <bit>
#include <cstring>

#include "oracle_native.h"

namespace lockstep::instructions {

namespace {

/// An 80-bit x87 register.
void random_x87_register(Random& random, uint8_t* out) {
    std::memset(out, 0, 16);
    if (random.chance(70)) {
        long double value = std::bit_cast<double>(random_float_bits(random));
        if (random.chance(70)) value = static_cast<long double>(random.between(-1000000, 1000000)) / 128;
        std::memcpy(out, &value, 10);
        return;
    }
    uint64_t mantissa = random.next(),
             exponent = random.chance(50) ? random.next() : 0x3ff0 + random.below(32);
    if (random.chance(80)) mantissa |= uint64_t{1} << 63;
    std::memcpy(out, &mantissa, 8);
    std::memcpy(out + 8, &exponent, 2);
}

}  // namespace

uint64_t random_float_bits(Random& random) {
    constexpr std::array<uint64_t, 10> kDoubles = {0,
                                                   0x8000000000000000,
                                                   0x3ff0000000000000,
                                                   0x7ff0000000000000,
                                                   0xfff0000000000000,
                                                   0x7ff8000000000000,
                                                   0x7ff0000000000001,
                                                   0x0000000000000001,
                                                   0x41dfffffffc00000,
                                                   0x43e0000000000000};
    constexpr std::array<uint32_t, 10> kFloats = {0,          0x80000000, 0x3f800000, 0x7f800000, 0xff800000,
                                                  0x7fc00000, 0x7f800001, 0x00000001, 0x4f000000, 0x33800000};
    switch (random.below(6)) {
        case 0:
            return random.pick(kDoubles);
        case 1:
            return random.pick(kFloats) | uint64_t{random.pick(kFloats)} << 32;
        case 2: {
            uint64_t low = std::bit_cast<uint32_t>(static_cast<float>(random.between(-100000, 100000)) / 16);
            return low | uint64_t{std::bit_cast<uint32_t>(static_cast<float>(random.between(-9, 9)))} << 32;
        }
        case 3:
            return random.next();
        default:
            return std::bit_cast<uint64_t>(static_cast<double>(random.between(-1000000000, 1000000000)) /
                                           1024);
    }
}

uint32_t random_mxcsr(Random& random) {
    uint32_t value = 0x1f80;
    if (random.chance(30)) value |= static_cast<uint32_t>(random.below(4)) << 13;  // rounding
    if (random.chance(10)) value |= 1u << 15;                                      // flush to zero
    if (random.chance(10)) value |= 1u << 6;                                       // denormals are zeros
    if (random.chance(20)) value |= static_cast<uint32_t>(random.below(64));       // exceptions so far
    return value;
}

cpu::FxState random_fx(Random& random, bool likes_floats) {
    cpu::FxState fx;
    uint16_t control = 0x37f, status = 0;
    if (random.chance(30)) control = static_cast<uint16_t>(0x7f | random.below(16) << 8);
    if (random.chance(60)) status = static_cast<uint16_t>(random.below(8) << 11 | random.below(8) << 8);
    uint8_t tags = random.chance(30) ? 0 : static_cast<uint8_t>(random.next());
    uint32_t mxcsr = random_mxcsr(random), mxcsr_mask = 0xffff;
    if (random.chance(4)) mxcsr &= ~static_cast<uint32_t>(random.below(64) << 7);  // SSE exceptions unmasked
    if (random.chance(4)) control &= static_cast<uint16_t>(~random.below(64));     // x87 exceptions unmasked
    std::memcpy(&fx.bytes[0], &control, 2);
    std::memcpy(&fx.bytes[2], &status, 2);
    fx.bytes[4] = tags;
    std::memcpy(&fx.bytes[24], &mxcsr, 4);
    std::memcpy(&fx.bytes[28], &mxcsr_mask, 4);
    for (unsigned i = 0; i < 8; ++i) random_x87_register(random, &fx.bytes[32 + 16 * i]);
    for (unsigned i = 0; i < 32; ++i) {
        uint64_t value =
            random.chance(likes_floats ? 85 : 20) ? random_float_bits(random) : interesting_number(random);
        std::memcpy(&fx.bytes[160 + 8 * i], &value, 8);
    }
    return fx;
}

cpu::UpperHalves random_upper_halves(Random& random, bool likes_floats) {
    cpu::UpperHalves halves;
    if (random.chance(50)) return halves;
    for (unsigned i = 0; i < 32; ++i) {
        uint64_t value =
            random.chance(likes_floats ? 85 : 20) ? random_float_bits(random) : interesting_number(random);
        std::memcpy(&halves.bytes[8 * i], &value, 8);
    }
    return halves;
}

void randomise_state(Random& random, UserState& state) {
    for (unsigned i = 0; i < 16; ++i) {
        if (i == cpu::kRsp) continue;
        state.gpr[i] = random.chance(10) ? kData + random.below(4 * kPageSize) : interesting_number(random);
    }
    state.rflags = 0x202 | (random.next() & cpu::kArithmeticFlags);
    if (random.chance(10)) state.rflags |= cpu::kFlagDf;
    if (random.chance(10)) state.rflags |= cpu::kFlagAc;
    auto base = [&]() -> uint64_t {
        switch (random.below(5)) {
            case 0:
                return kData + random.below(0x2000);
            case 1:
                return random.below(0x1000);
            case 2:
                return kHigh + random.below(0x1000);
            case 3:
                return random.next() >> 17;
            default:
                return ~random.below(1 << 30);  // the effective address stays canonical, as some CPUs want
        }
    };
    state.fs_base = settable_base(base());
    state.gs_base = settable_base(base());
}

uint64_t pick_target(Random& random, unsigned size, Reach reach) {
    auto aligned = [&](uint64_t address) {
        if (size >= 16 ? random.chance(80) : random.chance(50))
            address &= ~uint64_t{(size == 32 ? 32u : size >= 16 ? 16u : std::bit_ceil(size)) - 1};
        return address;
    };
    auto before = [&](uint64_t end) { return aligned(end - random.below(size + 8)); };
    uint64_t roll = random.below(100);
    if (roll < 50) return aligned(kData + 64 + random.below(4 * kPageSize - 1024));
    if (roll < 70) return before(kData + kPageSize * (1 + random.below(3)));
    if (roll < 74) return before(kDataAfterHole + kPageSize);
    if (roll < 76) return before(kReadOnly);                       // from writable into read-only
    if (roll < 79) return before(kDataAfterHole + 2 * kPageSize);  // into nothing
    if (roll < 80) return before(kAbsent);                         // from read-only into nothing
    if (roll < 82) return before(kDataAfterHole);                  // from nothing
    if (roll < 83) return before(kData);
    if (roll < 86) return aligned(kReadOnly + random.below(kPageSize));
    if (roll < 88) return aligned(kAbsent + random.below(kPageSize));
    if (roll < 90) return kCode + random.below(kCodePages * kPageSize);
    if (roll < 93) return kWritableCode + random.below(kWritableCodePages * kPageSize);
    if (reach == Reach::kLow) return aligned(kDataAfterHole + random.below(kPageSize));
    if (roll < 96) return before(kHigh + kPageSize);
    if (roll < 98) return before(kHigh + 2 * kPageSize);
    if (roll < 99) return 0x8000000000000000 | random.next() >> 1;  // not canonical, or the kernel's
    return (uint64_t{1} << 47) - size - random.below(8);  // the end of the lower half; across it, CPUs differ
}

bool add_patch(Case& test_case, uint64_t address, Bytes bytes) {
    for (size_t i = 0; i < bytes.size(); ++i)
        if (!image_offset(address + i)) return false;
    test_case.patches.push_back({address, std::move(bytes)});
    return true;
}

bool add_patch(Case& test_case, uint64_t address, uint64_t value, unsigned size) {
    Bytes bytes(size);
    std::memcpy(bytes.data(), &value, std::min<size_t>(size, 8));
    return add_patch(test_case, address, std::move(bytes));
}

}  // namespace lockstep::instructions
