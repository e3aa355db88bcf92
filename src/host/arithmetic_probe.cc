// SPDX-License-Identifier: Apache-2.0
#include "host/arithmetic_probe.h"

#include <immintrin.h>

#include <cstring>

#include "base/bytes.h"
#include "base/hash.h"

namespace lockstep::host {

namespace {

constexpr uint64_t kArithmeticFlags = 0x8d5;  // OF, SF, ZF, AF, PF, CF
constexpr uint64_t kOperands[] = {
    0,
    1,
    2,
    3,
    0x7f,
    0x80,
    0xff,
    0x8000,
    0xffff,
    0x7fffffff,
    0x80000000,
    0xffffffff,
    0x0123456789abcdef,
    0x7fffffffffffffff,
    0x8000000000000000,
    0xffffffffffffffff,
};

/// RCPPS and RSQRTPS over the mantissa, whose upper bits choose the table entry, and over some exponents.
void probe_approximations(ByteWriter& out) {
    for (uint32_t exponent : {1u, 64u, 126u, 127u, 128u, 200u, 253u}) {
        for (uint32_t step = 0; step < 4096; step += 4) {
            alignas(16) uint32_t bits[4], results[8];
            for (uint32_t i = 0; i < 4; i++)
                bits[i] = exponent << 23 | (step + i) << 11 | (step * 37 & 0x7ff);
            __m128 values = _mm_load_ps(reinterpret_cast<float*>(bits));
            _mm_store_ps(reinterpret_cast<float*>(results), _mm_rcp_ps(values));
            _mm_store_ps(reinterpret_cast<float*>(results + 4), _mm_rsqrt_ps(values));
            for (uint32_t result : results) out.fixed(result);
        }
    }
}

void put(ByteWriter& out, long double value) {
    uint8_t bytes[10];
    std::memcpy(bytes, &value, sizeof bytes);
    out.raw(bytes);
}

void probe_one_operand(ByteWriter& out, long double x) {
    long double result, second;
    asm volatile("fsin" : "=t"(result) : "0"(x));
    put(out, result);
    asm volatile("fcos" : "=t"(result) : "0"(x));
    put(out, result);
    asm volatile("fptan" : "=t"(result), "=u"(second) : "0"(x));
    put(out, second);
    asm volatile("f2xm1" : "=t"(result) : "0"(x / 64.0L));
    put(out, result);
}

void probe_two_operands(ByteWriter& out, long double x, long double y) {
    long double result;
    asm volatile("fpatan" : "=t"(result) : "0"(x), "u"(y) : "st(1)");
    put(out, result);
    asm volatile("fyl2x" : "=t"(result) : "0"(x), "u"(y) : "st(1)");
    put(out, result);
    asm volatile("fyl2xp1" : "=t"(result) : "0"(x / 256.0L), "u"(y) : "st(1)");
    put(out, result);
}

void probe_transcendentals(ByteWriter& out) {
    for (int i = 1; i <= 400; i++) {
        long double x = 0.15915494309189533577L * static_cast<long double>(i);
        probe_one_operand(out, x);
        probe_one_operand(out, -x);
        probe_two_operands(out, x, 0.7071067811865475244L);
    }
}

// Runs an instruction with given operands (rax; rbx and rcx alike) and flags; writes its result and the flags
// after it. The stack pointer first steps over the red zone, into which the flags would be pushed otherwise.
// clang-format off
#define LOCKSTEP_PROBE(instruction, first, second, flags_before)                                            \
    do {                                                                                                    \
        uint64_t probed_result = (first), probed_flags = (flags_before), in_b = (second), in_c = (second);  \
        asm volatile("leaq -128(%%rsp), %%rsp\n\tpushq %1\n\tpopfq\n\t" instruction                       \
                     "\n\tpushfq\n\tpopq %1\n\tleaq 128(%%rsp), %%rsp"                                    \
                     : "+&a"(probed_result), "+&r"(probed_flags), "+&b"(in_b), "+&c"(in_c)                  \
                     :                                                                                      \
                     : "rdx", "cc", "memory");                                                              \
        out.fixed(probed_result);                                                                           \
        out.fixed(probed_flags & kArithmeticFlags);                                                         \
    } while (false)
// clang-format on

__attribute__((target("bmi,bmi2"), noinline)) void probe_undefined(ByteWriter& out, uint64_t a, uint64_t b,
                                                                   uint64_t flags) {
    LOCKSTEP_PROBE("bsf %%rbx, %%rax", a, b, flags);
    LOCKSTEP_PROBE("bsr %%rbx, %%rax", a, b, flags);
    LOCKSTEP_PROBE("bsf %%ebx, %%eax", a, b, flags);
    LOCKSTEP_PROBE("bsr %%bx, %%ax", a, b, flags);
    LOCKSTEP_PROBE("mulq %%rbx", a, b, flags);
    LOCKSTEP_PROBE("imulq %%rbx, %%rax", a, b, flags);
    LOCKSTEP_PROBE("imull %%ebx, %%eax", a, b, flags);
    LOCKSTEP_PROBE("shlq %%cl, %%rax", a, b, flags);
    LOCKSTEP_PROBE("shrq %%cl, %%rax", a, b, flags);
    LOCKSTEP_PROBE("sarl %%cl, %%eax", a, b, flags);
    LOCKSTEP_PROBE("shlb %%cl, %%al", a, b, flags);
    LOCKSTEP_PROBE("rolq %%cl, %%rax", a, b, flags);
    LOCKSTEP_PROBE("rorw %%cl, %%ax", a, b, flags);
    LOCKSTEP_PROBE("rclb %%cl, %%al", a, b, flags);
    LOCKSTEP_PROBE("rcrq %%cl, %%rax", a, b, flags);
    LOCKSTEP_PROBE("shldq %%cl, %%rbx, %%rax", a, b, flags);
    LOCKSTEP_PROBE("shrdw %%cl, %%bx, %%ax", a, b, flags);
    LOCKSTEP_PROBE("andq %%rbx, %%rax", a, b, flags);
    LOCKSTEP_PROBE("xorl %%ebx, %%eax", a, b, flags);
    LOCKSTEP_PROBE("testq %%rbx, %%rax", a, b, flags);
    LOCKSTEP_PROBE("btq %%rbx, %%rax", a, b, flags);
    LOCKSTEP_PROBE("btsl %%ebx, %%eax", a, b, flags);
    LOCKSTEP_PROBE("popcntq %%rbx, %%rax", a, b, flags);
    LOCKSTEP_PROBE("blsrq %%rbx, %%rax", a, b, flags);
    LOCKSTEP_PROBE("bzhiq %%rcx, %%rbx, %%rax", a, b, flags);
    LOCKSTEP_PROBE("xorl %%edx, %%edx\n\torq $1, %%rcx\n\tdivq %%rcx", a, b, flags);
}

}  // namespace

uint64_t probe_arithmetic() {
    Bytes results;
    ByteWriter out(results);
    probe_approximations(out);
    probe_transcendentals(out);
    for (uint64_t flags : {uint64_t{0x2}, uint64_t{0x2} | kArithmeticFlags}) {
        for (uint64_t a : kOperands) {
            for (uint64_t b : kOperands) probe_undefined(out, a, b, flags);
        }
    }
    return hash64(results);
}

}  // namespace lockstep::host
