/* Runs the fixed engine on a bare Cortex-M7 and says what it takes. Audio comes from the file in.raw
   and goes to out.raw through semihosting; report.txt gets instructions and the deepest stack. */

#include "gtcrn.h"
#include "gtcrn_weights.h"

extern uint32_t stack_top[], stack_low[];
int main(void);

void start(void)
{
    /* Nothing is initialized: the engine has constants only, and zeroes its state itself. */
    main();
    for (;;) {
    }
}

static void stop(void)
{
    for (;;) {
    }
}

__attribute__((section(".vectors"), used)) static const void *const vectors[16] = {
    stack_top, (void *)start, (void *)stop, (void *)stop, (void *)stop, (void *)stop, (void *)stop};

enum { OPEN = 1, WRITE = 5, READ = 6, EXIT = 0x18 };

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

static gtcrn_state state;
static int16_t samples[GTCRN_HOP];

int main(void)
{
    const int in = open_file("in.raw", 6, 1), out = open_file("out.raw", 7, 5);
    const int report = open_file("report.bin", 10, 5);
    uint32_t ticks[2] = {0, 0}, frames = 0;
    SYSTICK_RELOAD = SYSTICK_RANGE - 1;
    SYSTICK_VALUE = 0;
    SYSTICK_CONTROL = 5;
    for (uint32_t *p = stack_low; p < stack_low + 0x3800; p++) *p = 0x5AFE5AFE;
    if (gtcrn_load(&state, gtcrn_weights, GTCRN_WEIGHTS_SIZE)) stop();
    while (transfer(READ, in, samples, sizeof samples) == 0) {
        const uint32_t before = SYSTICK_VALUE;
        gtcrn_process(&state, samples, samples);
        const uint32_t taken = (before - SYSTICK_VALUE) & (SYSTICK_RANGE - 1);
        ticks[0] += taken;
        ticks[1] = taken > ticks[1] ? taken : ticks[1];
        frames++;
        transfer(WRITE, out, samples, sizeof samples);
    }
    const uint32_t *deepest = stack_low;
    while (*deepest == 0x5AFE5AFE) deepest++;
    uint32_t numbers[4] = {frames, ticks[0], ticks[1],
                           (uint32_t)((const char *)stack_top - (const char *)deepest)};
    transfer(WRITE, report, numbers, sizeof numbers);
    semihost(EXIT, (const void *)0x20026);
    return 0;
}
