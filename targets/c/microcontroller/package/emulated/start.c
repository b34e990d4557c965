/* What runs main() on a bare emulated machine, and hands its status on through semihosting. */

#include <stdint.h>

extern uint32_t stack_top[], stack_low[];
extern char __bss_start__[] __attribute__((weak));
int main(void);

static void stop(uint32_t status)
{
    const uint32_t block[2] = {0x20026 /* the program has ended */, status};
    register int r0 __asm__("r0") = 0x20; /* with a status */
    register const void *r1 __asm__("r1") = block;
    __asm__ volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
    for (;;) {
    }
}

void start(void)
{
    /* Leave to use floating-point and vector registers. Memory is zero when the machine begins. */
    *(volatile uint32_t *)0xE000ED88 |= 0xFu << 20;
    __asm__ volatile("dsb\n isb");
    stop((uint32_t)main());
}

static void fault(void)
{
    stop(99);
}

__attribute__((section(".vectors"), used)) static const void *const vectors[16] = {
    stack_top, (void *)start, (void *)fault, (void *)fault,
    (void *)fault, (void *)fault, (void *)fault, (void *)fault};
