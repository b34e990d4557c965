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

/* Keep the compiler from loading all that a pointer may point to before it is needed. */
#if defined(__GNUC__)
#define OPAQUE(pointer) __asm__("" : "+r"(pointer))
#else
#define OPAQUE(pointer) (void)(pointer)
#endif

/* What is read behind it is not loaded before it: clang loads ahead until registers have to be spilled. */
#if defined(__clang__)
#define IN_TURN __asm__ volatile("" ::: "memory")
#else
#define IN_TURN (void)0
#endif

#if defined(KEEP_LOOPS) /* for sanitizers, which make much of little code */
#define UNROLL
#define BY_THREE
#define ROLLED
#elif defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#define BY_THREE _Pragma("clang loop unroll_count(3)")
#define ROLLED _Pragma("clang loop unroll(disable)")
#elif defined(__GNUC__)
#define UNROLL _Pragma("GCC unroll 64")
#define BY_THREE _Pragma("GCC unroll 3")
#define ROLLED _Pragma("GCC unroll 1")
#else
#define UNROLL
#define BY_THREE
#define ROLLED
#endif

/* Rows whose gates are summed at once: three fill 32 vector registers, one 16. */
#if defined(__aarch64__)
#define ROWS_AT_ONCE 3
#else
#define ROWS_AT_ONCE 1
#endif

#endif
