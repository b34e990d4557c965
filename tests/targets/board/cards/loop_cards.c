/*
 * Sound cards without hardware: what is played on a card's device 0 is recorded from its device 1.
 *
 * As ALSA's snd-aloop, whose samples move in steps of a jiffy (4 ms); these move one by one, with
 * the clock, as those of a sound card do.
 */
#include <linux/hrtimer.h>
#include <linux/math64.h>
#include <linux/module.h>
#include <linux/platform_device.h>
#include <sound/core.h>
#include <sound/initval.h>
#include <sound/pcm.h>
#include <sound/pcm_params.h>

#define CARDS 3

static char *id[CARDS] = { "Mic", "Spk", "Ref" };
module_param_array(id, charp, NULL, 0444);

/* One end of a cable: playback or capture. */
struct side {
	struct snd_pcm_substream *substream; /* while it is open */
	struct hrtimer timer; /* once a period */
	u64 period_ns;
	snd_pcm_uframes_t at; /* in the buffer */
	bool ready; /* its rate, format and channels are fixed */
	bool running;
};

struct cable {
	spinlock_t lock;
	struct side sides[2]; /* by SNDRV_PCM_STREAM_* */
	u64 now; /* in frames: up to where sound has moved */
};

static struct platform_device *device;
static struct snd_card *cards[CARDS];

static struct side *side_of(struct snd_pcm_substream *substream)
{
	struct cable *cable = snd_pcm_substream_chip(substream);

	return &cable->sides[substream->stream];
}

static char *place(struct side *side)
{
	struct snd_pcm_runtime *runtime = side->substream->runtime;

	return runtime->dma_area + frames_to_bytes(runtime, side->at);
}

/* Move sound along the cable until now; the lock is held. */
static void move(struct cable *cable, struct snd_pcm_runtime *runtime)
{
	struct side *from = &cable->sides[SNDRV_PCM_STREAM_PLAYBACK];
	struct side *to = &cable->sides[SNDRV_PCM_STREAM_CAPTURE];
	u64 now = mul_u64_u32_div(ktime_get_ns(), runtime->rate, NSEC_PER_SEC);
	u64 left = from->running || to->running ? now - cable->now : 0;

	cable->now = now;
	while (left) {
		snd_pcm_uframes_t count = min_t(u64, left, runtime->rate);
		struct side *side;

		for (side = from; side <= to; side++)
			if (side->running)
				count = min(count, side->substream->runtime->buffer_size - side->at);
		if (to->running && from->running)
			memcpy(place(to), place(from), frames_to_bytes(runtime, count));
		else if (to->running)
			memset(place(to), 0, frames_to_bytes(runtime, count));
		for (side = from; side <= to; side++)
			if (side->running)
				side->at = (side->at + count) % side->substream->runtime->buffer_size;
		left -= count;
	}
}

static enum hrtimer_restart period_over(struct hrtimer *timer)
{
	struct side *side = container_of(timer, struct side, timer);

	if (!READ_ONCE(side->running))
		return HRTIMER_NORESTART;
	snd_pcm_period_elapsed(side->substream);
	if (!READ_ONCE(side->running)) /* it was an xrun */
		return HRTIMER_NORESTART;
	hrtimer_forward_now(timer, ns_to_ktime(side->period_ns));
	return HRTIMER_RESTART;
}

static const struct snd_pcm_hardware hardware = {
	.info = SNDRV_PCM_INFO_MMAP | SNDRV_PCM_INFO_MMAP_VALID | SNDRV_PCM_INFO_INTERLEAVED |
		SNDRV_PCM_INFO_BLOCK_TRANSFER,
	.formats = SNDRV_PCM_FMTBIT_S16_LE | SNDRV_PCM_FMTBIT_S32_LE,
	.rates = SNDRV_PCM_RATE_CONTINUOUS | SNDRV_PCM_RATE_8000_48000,
	.rate_min = 8000,
	.rate_max = 48000,
	.channels_min = 1,
	.channels_max = 2,
	.buffer_bytes_max = 1 << 18,
	.period_bytes_min = 16,
	.period_bytes_max = 1 << 17,
	.periods_min = 2,
	.periods_max = 1024,
};

static int side_open(struct snd_pcm_substream *substream)
{
	struct cable *cable = snd_pcm_substream_chip(substream);
	struct snd_pcm_runtime *runtime = substream->runtime;
	struct side *side = side_of(substream), *other = &cable->sides[!substream->stream];

	runtime->hw = hardware;
	side->substream = substream;
	if (other->ready) {
		struct snd_pcm_runtime *as = other->substream->runtime;

		runtime->hw.formats = pcm_format_to_bits(as->format);
		runtime->hw.rate_min = runtime->hw.rate_max = as->rate;
		runtime->hw.channels_min = runtime->hw.channels_max = as->channels;
	}
	return snd_pcm_hw_constraint_integer(runtime, SNDRV_PCM_HW_PARAM_PERIODS);
}

static int side_close(struct snd_pcm_substream *substream)
{
	struct side *side = side_of(substream);

	hrtimer_cancel(&side->timer);
	side->ready = false;
	return 0;
}

static int side_prepare(struct snd_pcm_substream *substream)
{
	struct cable *cable = snd_pcm_substream_chip(substream);
	struct snd_pcm_runtime *runtime = substream->runtime;
	struct side *side = side_of(substream), *other = &cable->sides[!substream->stream];

	if (other->ready) { /* both may have been opened before either was set up */
		struct snd_pcm_runtime *as = other->substream->runtime;

		if (runtime->format != as->format || runtime->rate != as->rate ||
		    runtime->channels != as->channels)
			return -EINVAL;
	}
	hrtimer_cancel(&side->timer);
	side->at = 0;
	side->period_ns = mul_u64_u32_div(runtime->period_size, NSEC_PER_SEC, runtime->rate);
	side->ready = true;
	return 0;
}

static int side_trigger(struct snd_pcm_substream *substream, int command)
{
	struct cable *cable = snd_pcm_substream_chip(substream);
	struct side *side = side_of(substream);
	unsigned long flags;

	spin_lock_irqsave(&cable->lock, flags);
	move(cable, substream->runtime);
	WRITE_ONCE(side->running, command == SNDRV_PCM_TRIGGER_START);
	spin_unlock_irqrestore(&cable->lock, flags);
	if (side->running)
		hrtimer_start(&side->timer, ns_to_ktime(side->period_ns), HRTIMER_MODE_REL_SOFT);
	return 0;
}

static snd_pcm_uframes_t side_pointer(struct snd_pcm_substream *substream)
{
	struct cable *cable = snd_pcm_substream_chip(substream);
	struct side *side = side_of(substream);
	unsigned long flags;
	snd_pcm_uframes_t at;

	spin_lock_irqsave(&cable->lock, flags);
	move(cable, substream->runtime);
	at = side->at;
	spin_unlock_irqrestore(&cable->lock, flags);
	return at;
}

static const struct snd_pcm_ops ops = {
	.open = side_open,
	.close = side_close,
	.prepare = side_prepare,
	.trigger = side_trigger,
	.pointer = side_pointer,
};

static int add_card(int index)
{
	struct snd_card *card;
	struct snd_pcm *pcm;
	struct cable *cable;
	int stream, error;

	error = snd_card_new(&device->dev, index, id[index], THIS_MODULE, sizeof(*cable), &card);
	if (error)
		return error;
	cards[index] = card;
	cable = card->private_data;
	spin_lock_init(&cable->lock);
	strscpy(card->driver, "Loop", sizeof(card->driver));
	strscpy(card->shortname, "Loop", sizeof(card->shortname));
	snprintf(card->longname, sizeof(card->longname), "Loop %d", index);
	for (stream = 0; stream < 2; stream++) {
		hrtimer_init(&cable->sides[stream].timer, CLOCK_MONOTONIC, HRTIMER_MODE_REL_SOFT);
		cable->sides[stream].timer.function = period_over;
		error = snd_pcm_new(card, "Loop", stream, !stream, stream, &pcm);
		if (error)
			return error;
		pcm->private_data = cable;
		snd_pcm_set_ops(pcm, stream, &ops);
		snd_pcm_set_managed_buffer_all(pcm, SNDRV_DMA_TYPE_VMALLOC, NULL, 0, 0);
	}
	return snd_card_register(card);
}

static void remove_cards(void)
{
	int index;

	for (index = 0; index < CARDS; index++)
		if (cards[index])
			snd_card_free(cards[index]);
	platform_device_unregister(device);
}

static int __init loop_cards_init(void)
{
	int index, error = 0;

	device = platform_device_register_simple("loop_cards", -1, NULL, 0);
	if (IS_ERR(device))
		return PTR_ERR(device);
	for (index = 0; index < CARDS && !error; index++)
		error = add_card(index);
	if (error)
		remove_cards();
	return error;
}

module_init(loop_cards_init);
module_exit(remove_cards);
MODULE_DESCRIPTION("Sound cards whose playback is recorded, by the clock");
MODULE_LICENSE("Dual MIT/GPL");
