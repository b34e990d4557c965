/* Enhances in.raw to out.raw through semihosting on an emulated machine, and says in report.bin what it
   took: hops, ticks of the processor's clock (of all hops, of the longest), bytes of stack. */

#include "edge_se.h"

extern uint32_t stack_top[], stack_low[];

enum { OPEN = 1, WRITE = 5, READ = 6 };

static int semihost(int operation, const void *parameter)
{
    register int r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = parameter;
    __asm__ volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

static int open_file(const char *name, int length, int mode)
{
    const intptr_t block[3] = {(intptr_t)name, mode, length};
    return semihost(OPEN, block);
}

/* Bytes that were not transferred. */
static int transfer(int operation, int file, void *data, int size)
{
    const intptr_t block[3] = {file, (intptr_t)data, size};
    return semihost(operation, block);
}

/* A 24-bit counter of the processor's clock, down. */
#define SYSTICK_CONTROL (*(volatile uint32_t *)0xE000E010)
#define SYSTICK_RELOAD (*(volatile uint32_t *)0xE000E014)
#define SYSTICK_VALUE (*(volatile uint32_t *)0xE000E018)
#define SYSTICK_RANGE 0x1000000u
#define UNUSED 0x5AFE5AFEu
#define IN_USE 64 /* words of this function's own stack, and of its caller's */

static int16_t samples[EDGE_SE_HOP];

int main(void)
{
    const int in = open_file("in.raw", 6, 1), out = open_file("out.raw", 7, 5);
    const int report = open_file("report.bin", 10, 5);
    uint32_t ticks = 0, most = 0, hops = 0;
    edge_se *const stream = edge_se_open();
    if (!stream) return 1;
    SYSTICK_RELOAD = SYSTICK_RANGE - 1;
    SYSTICK_VALUE = 0;
    SYSTICK_CONTROL = 5;
    for (volatile uint32_t *p = stack_low; p < stack_top - IN_USE; p++) *p = UNUSED;
    while (transfer(READ, in, samples, sizeof samples) == 0) {
        const uint32_t before = SYSTICK_VALUE;
        edge_se_process(stream, samples, samples);
        const uint32_t taken = (before - SYSTICK_VALUE) & (SYSTICK_RANGE - 1);
        ticks += taken;
        most = taken > most ? taken : most;
        hops++;
        transfer(WRITE, out, samples, sizeof samples);
    }
    const volatile uint32_t *deepest = stack_low;
    while (*deepest == UNUSED) deepest++;
    uint32_t numbers[4] = {hops, ticks, most,
                           (uint32_t)((const char *)stack_top - (const volatile char *)deepest)};
    transfer(WRITE, report, numbers, sizeof numbers);
    return 0;
}
