/* An example: a microphone whose DMA fills two halves of a buffer in turn, and a loudspeaker or a link
   that empties two others at the same pace. Make it your own: call the first two functions from your
   DMA's interrupts, and fill in the third. Built as it is, to be looked at, it links and waits. */

#include "edge_se.h"

/* What DMA reads and writes; on a core with a data cache, where it is not cached. */
int16_t microphone[2][EDGE_SE_HOP], loudspeaker[2][EDGE_SE_HOP];

static volatile uint32_t filled; /* hops that came in since the start */

/* From the interrupt "half of the transfer is done". */
void microphone_half_full(void)
{
    filled++;
}

/* From the interrupt "the transfer is done", after which it begins anew. */
void microphone_full(void)
{
    filled++;
}

/* Start both transfers, which go round for ever: half a transfer is EDGE_SE_HOP samples. */
__attribute__((weak)) void start_audio(void)
{
}

/* What to do if the weights in flash are damaged, or hops come faster than they are processed. */
__attribute__((weak)) void on_fault(void)
{
}

int main(void)
{
    edge_se *const stream = edge_se_open();
    if (!stream || edge_se_api_version() != EDGE_SE_API_VERSION) {
        on_fault();
        return 1;
    }
    start_audio();
    for (uint32_t done = 0;;) {
        const uint32_t waiting = filled - done;
        if (!waiting) {
#if defined(__ARM_ARCH)
            /* An interrupt between the question and this wakes it all the same: it was an event. */
            __asm__ volatile("wfe");
#endif
            continue;
        }
        if (waiting > 1) { /* the half that is being filled, or has been twice: begin with the newest */
            on_fault();
            done += waiting - 1;
        }
        /* What is written here is played while the next half is filled. */
        edge_se_process(stream, microphone[done % 2], loudspeaker[done % 2]);
        done++;
    }
}
