/* What differs between compilers. */

#ifndef COMPILER_H
#define COMPILER_H

#if defined(__GNUC__) && !defined(__clang__)
/* Scheduling before register allocation moves so many loads up that sums are spilled. */
#pragma GCC optimize("no-schedule-insns")
#endif

#if defined(__GNUC__)
#define INLINE static inline __attribute__((always_inline))
#if defined(__clang__)
#define APART static __attribute__((noinline))
#else
#define APART static __attribute__((noinline, noclone))
#endif
#define ALIGNED __attribute__((aligned(16)))
#else
#define INLINE static inline
#define APART static
#define ALIGNED
#endif

#if defined(KEEP_LOOPS) /* for sanitizers, which make much of little code */
#define UNROLL
#define ROLLED
#elif defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#define ROLLED _Pragma("clang loop unroll(disable)")
#elif defined(__GNUC__)
#define UNROLL _Pragma("GCC unroll 64")
#define ROLLED _Pragma("GCC unroll 1")
#else
#define UNROLL
#define ROLLED
#endif

/* Rows whose gates are summed at once: three fill 32 vector registers, one 16. */
#if defined(__aarch64__)
#define ROWS_AT_ONCE 3
#else
#define ROWS_AT_ONCE 1
#endif

#endif
