/* Definitions that all kernels share. All arithmetic on voxels is in double and must not be contracted into fused
 * operations: the numpy implementation must return the same bits, and the tests check that it does. */
#ifndef ITKIT_COMMON_H
#define ITKIT_COMMON_H

#include <float.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if FLT_EVAL_METHOD != 0
#error "this target evaluates double in another precision; the numpy implementation is used instead"
#endif

#if defined(_WIN32)
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default")))
#endif

#if defined(_MSC_VER)
#define RESTRICT __restrict
#else
#define RESTRICT restrict
#endif

/* Compile a function twice and choose when the library is loaded, because a wheel must run on processors of any age. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && defined(__GLIBC__)
#define CLONES_FOR(feature) __attribute__((target_clones(feature, "default")))
#else
#define CLONES_FOR(feature)
#endif
#define CLONES CLONES_FOR("avx2")

#if defined(__GNUC__)
#define PREFETCH(address) __builtin_prefetch(address)
#else
#define PREFETCH(address) ((void)(address))
#endif

/* Hand-written AVX2 code for loops that the compiler does not vectorise; used only if has_avx2() at run time. */
#if defined(__x86_64__) && defined(__GNUC__)
#define HAVE_AVX2_CODE 1
#include <immintrin.h>
#define AVX2 __attribute__((target("avx2")))
static inline int has_avx2(void) { return __builtin_cpu_supports("avx2"); }
#endif

/* Number, name and C type of every voxel type; the numbers are the indices of itkit.kernels.arrays.TYPES. */
#define FOR_NARROW_INTEGERS(X) X(0, i8, int8_t) X(1, u8, uint8_t) X(2, i16, int16_t) X(3, u16, uint16_t) X(4, i32, int32_t)
#define FOR_WIDE_INTEGERS(X) X(6, i64, int64_t) X(7, u64, uint64_t)
#define FOR_FLOATS(X) X(8, f32, float) X(9, f64, double)
#define FOR_TYPES(X) FOR_NARROW_INTEGERS(X) X(5, u32, uint32_t) FOR_WIDE_INTEGERS(X) FOR_FLOATS(X)
/* Types by size, for kernels that move voxels without interpreting them. */
#define FOR_SIZES(X) X(1, uint8_t) X(2, uint16_t) X(4, uint32_t) X(8, uint64_t)

enum { FIRST_FLOAT = 8 };

/* Round |v| < 2**51 to the nearest integer, ties to even: next to 1.5 * 2**52, a double has no bits for a fraction. */
#define ROUNDER 6755399441055744.0

static inline double round_even(double v) { return (v + ROUNDER) - ROUNDER; }

static inline int8_t to_i8(double v) { return (int8_t)(int32_t)round_even(v); }
static inline uint8_t to_u8(double v) { return (uint8_t)(int32_t)round_even(v); }
static inline int16_t to_i16(double v) { return (int16_t)(int32_t)round_even(v); }
static inline uint16_t to_u16(double v) { return (uint16_t)(int32_t)round_even(v); }
static inline int32_t to_i32(double v) { return (int32_t)round_even(v); }
static inline uint32_t to_u32(double v) { return (uint32_t)(int64_t)round_even(v); }
static inline int64_t to_i64(double v) {
    v = rint(v);
    return v >= 9223372036854775808.0 ? INT64_MAX : v <= -9223372036854775808.0 ? INT64_MIN : (int64_t)v;
}
static inline uint64_t to_u64(double v) {
    v = rint(v);
    return v >= 18446744073709551616.0 ? UINT64_MAX : v <= 0.0 ? 0 : (uint64_t)v;
}
static inline float to_f32(double v) { return (float)v; }
static inline double to_f64(double v) { return v; }

/* Interpolate between v0 and v1; exactly v0 for weight 0, so that a neighbour's nan or infinity has no effect. */
#define MIX_INTEGER(v0, v1, w) ((v0) + ((v1) - (v0)) * (w))
#define MIX_FLOAT(v0, v1, w) ((w) == 0.0 ? (v0) : (v0) + ((v1) - (v0)) * (w))

#endif
